"""Shell: the turns of the event loop that long work gets: however many requests need it, one step runs in each turn.

A step takes some milliseconds. If each of fifty long bodies took one in every turn, tokens would wait for all fifty.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")


class Turns:
    """Gives out turns in the order in which they are asked for."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def run(self, step: Callable[[], _Result]) -> _Result:
        """Run one step when it is its turn, and go on in a later turn of the loop."""
        async with self._lock:
            result = step()
            await asyncio.sleep(0)
        return result
