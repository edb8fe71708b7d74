"""Waiting for a condition that nothing announces: it is checked again and again until it holds."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 30.0  # seconds after which a wait fails; on an idle machine waits take milliseconds
# The seconds between two looks: a long wait looks less often, and leaves the processor to what it waits for.
SHORTEST, LONGEST = 0.002, 0.01
GROWTH = 1.25

_Found = TypeVar("_Found")


def wait_for(look: Callable[[], _Found | None], what: str, seconds: float = PATIENCE) -> _Found:
    """What `look` finds, as soon as it finds something that is neither None nor False."""
    deadline, pause = time.monotonic() + seconds, SHORTEST
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(pause)
        pause = min(GROWTH * pause, LONGEST)


async def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Return once the condition is true; the event loop runs on meanwhile."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the condition has no event to wait on
            await asyncio.sleep(0.001)
