"""The garbage collector of the test process, kept as it is while gateways come and go in it.

A service tunes the collector, since it is made for a process of its own: it freezes what survives, so that a client
which a test forgets would never be collected.
"""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gateway.run.gc_policy import TOO_MANY

_lock = threading.Lock()


class CollectorGuard:
    """Undoes what one service has changed at its start, and gives it back for the service to undo at its end."""

    def __init__(self) -> None:
        self._callbacks: list[Any] = []

    @contextmanager
    def starting(self) -> Iterator[None]:
        """The block in which a service starts."""
        with _lock:
            before, thresholds = gc.callbacks[:], gc.get_threshold()
            try:
                yield
            finally:
                self._callbacks = gc.callbacks[len(before) :]
                gc.callbacks[:] = before
                gc.set_threshold(*thresholds)
                gc.unfreeze()

    @contextmanager
    def as_in_service(self) -> Iterator[None]:
        """The block in which the collector leaves the objects of the tests alone, as in a service's own process."""
        with _lock:
            thresholds = gc.get_threshold()
            gc.freeze()
            gc.set_threshold(TOO_MANY, *thresholds[1:])
            try:
                yield
            finally:
                gc.set_threshold(*thresholds)
                gc.unfreeze()

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """The block in which a service stops."""
        with _lock:
            before, thresholds = gc.callbacks[:], gc.get_threshold()
            gc.callbacks += self._callbacks
            try:
                yield
            finally:
                gc.callbacks[:] = before
                gc.set_threshold(*thresholds)
