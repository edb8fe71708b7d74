"""Shell: the work of one owner beside the calls that ask for it: background tasks, and the share of a turn.

Every task has a name and an owner that waits for it.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from gateway.turn_share import TurnShare

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
