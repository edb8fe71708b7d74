"""Shell: the two clocks. Timers are the event loop's; what is measured is measured here.

The loop's own `time()` is no stopwatch: uvloop caches it for a loop pass and counts whole milliseconds.
"""

import time

monotonic = time.monotonic  # seconds, for intervals


def wall_time() -> float:
    """Seconds since the Unix epoch, for `created` fields and records; never for intervals."""
    return time.time()
