"""Shell: the work of one connection on a read that may take the event loop for too long.

In: the bytes of a read, which are cut into slices, and the steps that a slice leaves to do. Out: some milliseconds of
work a call. The invariant: slices and steps are done in the order of the bytes, and none after `cancel`.
"""

from collections import deque
from collections.abc import Callable
from functools import partial

from gateway import clock
from gateway.upstream.bodies import Steps

SLICE_BYTES = 16384  # a longer read is taken slice by slice; one slice holds 3,000 transfer chunks at most: 4 ms
TURN_SECONDS = 0.004  # after this time the loop gets on; the step that is under way comes on top

Task = Callable[[], Steps]


class ReadWork:
    """The slices, steps and other tasks that are left to do."""

    __slots__ = ("_steps", "_tasks")

    def __init__(self, steps: Steps = None) -> None:
        self._steps = steps
        self._tasks: deque[Task] = deque()

    @property
    def has_more(self) -> bool:
        """Whether more follows the task that is being done."""
        return bool(self._tasks)

    def add_read(self, data: bytes, read: Callable[[bytes], Steps]) -> None:
        """Let `read` take these bytes in slices, after what is left to do."""
        for start in range(0, len(data), SLICE_BYTES):
            self._tasks.append(partial(read, data[start : start + SLICE_BYTES]))

    def then(self, task: Task) -> None:
        """Do this after what is left to do."""
        self._tasks.append(task)

    def cancel(self) -> None:
        """Do nothing more."""
        self._tasks.clear()
        self._steps = None

    def run(self) -> bool:
        """Work for `TURN_SECONDS`; returns whether nothing is left to do."""
        until = clock.monotonic() + TURN_SECONDS
        while self._steps is not None or self._tasks:
            if (steps := self._steps) is None:
                self._steps = self._tasks.popleft()()
            elif next(steps, self) is self and self._steps is steps:
                self._steps = None
            if clock.monotonic() >= until:
                return self._steps is None and not self._tasks
        return True
