"""Shell: the work of one owner beside the calls that ask for it: background tasks, and the share of a turn.

Every task has a name and an owner that waits for it.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from gateway.turn_share import TurnShare

_Result = TypeVar("_Result")

_log = logging.getLogger("rivergate.tasks")


class Tasks:
    """The background tasks of one owner: a failure is logged, and `close` ends them all."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self.share = TurnShare()  # for what begins and ends requests

    def __len__(self) -> int:
        return len(self._running)

    def start(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run a coroutine in a task of this name; an exception in it is logged."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._running.add(task)
        task.add_done_callback(self._on_done)
        return task

    async def close(self) -> None:
        """Cancel the running tasks and wait until they have ended."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("the task %r failed", task.get_name(), exc_info=error)


async def in_own_thread(work: Callable[[], _Result], name: str) -> _Result:
    """What `work` returns, or raises, in a new thread. The process can end while it is under way."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Callable[[], _Result]] = loop.create_future()

    def tell(outcome: Callable[[], _Result]) -> None:
        if not done.done():
            done.set_result(outcome)

    def run() -> None:
        outcome = _outcome_of(work)
        with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(tell, outcome)

    threading.Thread(target=run, name=name, daemon=True).start()
    return (await done)()


def _outcome_of(work: Callable[[], _Result]) -> Callable[[], _Result]:
    """A call that gives what the work has given, or raises what it has raised."""
    try:
        result = work()
    except Exception as error:
        raised = error

        def fail() -> _Result:
            raise raised

        return fail
    return lambda: result
