"""The garbage collector of the test process, for tests that watch how long a turn of an event loop takes."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.run.gc_policy import TOO_MANY


@contextmanager
def as_in_service() -> Iterator[None]:
    """The block in which the collector leaves the objects of the tests alone, as in a service's own process."""
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(TOO_MANY, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
