"""Shell: long work, cut into slices of about a millisecond, so that it holds up the tokens of no other stream."""

import time
from collections.abc import Iterator

SLICE_SECONDS = 0.001


def run_slice(steps: Iterator[None]) -> bool:
    """Run steps for about a millisecond; return whether the work has come to its end."""
    until = time.perf_counter() + SLICE_SECONDS
    for _ in steps:
        if time.perf_counter() >= until:
            break
    else:
        return True
    return False
