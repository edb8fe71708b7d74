"""Shell: the books for the event loop: every blocking call runs in one thread, one after the other."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from gateway.access.books import Books, GroupBy, Key, UsageRecord

_Result = TypeVar("_Result")


class BooksThread:
    """The calls of `Books` as awaitables, with the same results and errors."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._told: dict[str, Key] = {}  # the keys as the event loop knows them, by their ids; for the thread alone

    def load(self) -> tuple[int, list[Key]]:
        """The version and the keys, by blocking calls: for the start, when nothing else runs yet."""
        return self._books.version(), self._changed_keys()

    async def version(self) -> int:
        return await self._call(self._books.version)

    async def take_changes(self, take: Callable[[list[Key]], None]) -> None:
        """Hand over the keys that are new or have changed since the last time, also if the caller is cancelled.

        They are found in the thread: to go through a hundred thousand keys would take 80 ms of the event loop.
        """
        looking = asyncio.get_running_loop().run_in_executor(self._thread, self._changed_keys)
        looking.add_done_callback(lambda done: None if done.cancelled() or done.exception() else take(done.result()))
        await asyncio.shield(looking)

    async def settle(self, batch: Sequence[UsageRecord]) -> Mapping[str, int]:
        return await self._call(self._settle, batch)

    async def report(self, key_id: str | None, start: int, end: int, group_by: GroupBy) -> list[dict[str, Any]]:
        return await self._call(self._books.report, key_id, start, end, group_by)

    async def check(self) -> None:
        await self._call(self._books.check)

    def close(self) -> None:
        """Wait for the call that runs, end the thread and close the books."""
        self._thread.shutdown(wait=True)
        self._books.close()

    # --- in the thread

    def _changed_keys(self) -> list[Key]:
        changed = [key for key in self._books.all_keys() if self._told.get(key.id) != key]
        self._told.update((key.id, key) for key in changed)
        return changed

    def _settle(self, batch: Sequence[UsageRecord]) -> Mapping[str, int]:
        balances = self._books.settle(batch)
        for key_id, balance in balances.items():
            if (key := self._told.get(key_id)) is not None:
                self._told[key_id] = replace(key, balance_microusd=balance)
        return balances

    async def _call(self, call: Callable[..., _Result], *arguments: Any) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)
