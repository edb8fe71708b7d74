"""Shell: the two clocks: one for intervals, one for dates. Timers are the event loop's own.

The loop's `time()` is no stopwatch: uvloop caches it for a turn of the loop and counts whole milliseconds.
"""

import email.utils
import functools
import time

monotonic = time.monotonic  # seconds, for intervals


def wall_time() -> float:
    """Seconds since the Unix epoch, for `created` fields and records; never for intervals."""
    return time.time()


def rfc3339(unix: float) -> str:
    """A Unix time in UTC with milliseconds: `2026-11-21T08:00:00.123Z` (RFC 3339)."""
    seconds = int(unix)
    return f"{_second(seconds)}.{int((unix - seconds) * 1000):03d}Z"


@functools.lru_cache(maxsize=16)
def http_date(unix: int) -> str:
    """A Unix time as headers have it: `Sat, 21 Nov 2026 08:00:00 GMT` (RFC 9110 section 5.6.7)."""
    return email.utils.formatdate(unix, usegmt=True)


@functools.lru_cache(maxsize=16)
def _second(unix: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix))
