"""Shell: one epoll and one heap of timers; the loop that the load runs in.

In: file descriptors with callbacks, times with callbacks. Out: the calls. Invariant: nothing else runs in between, so
that the load costs its system calls and little more.
"""

import contextlib
import gc
import heapq
import itertools
import select
import time
from collections.abc import Callable, Iterator

clock = time.perf_counter

MAX_WAIT = 0.05  # the longest sleep: bounds how late a deadline is noticed
TIMERS_PER_PASS = 8  # between two polls: keeps receipts from waiting behind a burst of sends

OnReady = Callable[[int], object]
OnTime = Callable[[float], float | None]


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """No garbage collection: a pause of the load must not show as latency of a peer."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


class Loop:
    """`on_ready` takes the epoll mask; `on_time` takes the time and returns when to be called again."""

    __slots__ = ("_epoll", "_handlers", "_number", "_running", "timers")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, OnReady] = {}
        self.timers: list[tuple[float, int, OnTime]] = []
        self._number = itertools.count()
        self._running = False

    def watch(self, fd: int, on_ready: OnReady) -> None:
        self._handlers[fd] = on_ready
        self._epoll.register(fd, select.EPOLLIN)

    def forget(self, fd: int) -> None:
        """Watch this descriptor no more: to be called before it is closed; may be called twice."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_at(self, due: float, on_time: OnTime) -> None:
        heapq.heappush(self.timers, (due, next(self._number), on_time))

    def stop(self) -> None:
        self._running = False

    def close(self) -> None:
        self._epoll.close()

    def run(self, until: float) -> None:
        """Run until `stop()` or until the clock shows `until`."""
        self._running = True
        waiter = [self._epoll.fileno()]
        while self._running and (now := clock()) < until:
            pause = min(self._fire(now), until) - clock()
            if pause > 0:
                # epoll_wait counts milliseconds, select microseconds: 30,000 events/s are 33 µs apart.
                select.select(waiter, (), (), min(pause, MAX_WAIT))
            for fd, mask in self._epoll.poll(0):
                handler = self._handlers.get(fd)  # an earlier call of this pass may have closed it
                if handler is not None:
                    handler(mask)

    def _fire(self, now: float) -> float:
        """Call what is due; return when the next timer is due."""
        timers = self.timers
        for _ in range(TIMERS_PER_PASS):
            if not timers or timers[0][0] > now:
                break
            _, number, on_time = timers[0]
            heapq.heappop(timers)
            again = on_time(now)
            if again is not None:
                heapq.heappush(timers, (again, number, on_time))
        return timers[0][0] if timers else now + MAX_WAIT
