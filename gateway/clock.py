"""Shell: the two clocks. Timers are the event loop's; what is measured is measured here.

The loop's own `time()` is no stopwatch: uvloop caches it for a loop pass and counts whole milliseconds.
"""

import email.utils
import functools
import time

monotonic = time.monotonic  # seconds, for intervals


def wall_time() -> float:
    """Seconds since the Unix epoch, for `created` fields and records; never for intervals."""
    return time.time()


def rfc3339(unix: float) -> str:
    """UTC with milliseconds: `2026-11-21T08:00:00.123Z`."""
    seconds = int(unix)
    return f"{_second(seconds)}.{int((unix - seconds) * 1000):03d}Z"


@functools.lru_cache(maxsize=16)
def http_date(unix: int) -> str:
    """`Sat, 21 Nov 2026 08:00:00 GMT` (RFC 9110 section 5.6.7)."""
    return email.utils.formatdate(unix, usegmt=True)


@functools.lru_cache(maxsize=16)
def _second(unix: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix))
