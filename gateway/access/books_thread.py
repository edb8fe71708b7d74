"""Shell: the books for the event loop: every blocking call runs in one thread, one after the other."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from gateway.access.books import Books, GroupBy, Key, UsageRecord

_Result = TypeVar("_Result")


class BooksThread:
    """The calls of `Books` as awaitables, with the same results and errors."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._thread = ThreadPoolExecutor(1, "ledger")

    def load(self) -> tuple[int, list[Key]]:
        """The version and the keys, by blocking calls: for the start, when nothing else runs yet."""
        return self._books.version(), self._books.all_keys()

    async def version(self) -> int:
        return await self._call(self._books.version)

    async def all_keys(self) -> list[Key]:
        return await self._call(self._books.all_keys)

    async def settle(self, batch: Sequence[UsageRecord]) -> Mapping[str, int]:
        return await self._call(self._books.settle, batch)

    async def report(self, key_id: str | None, start: int, end: int, group_by: GroupBy) -> list[dict[str, Any]]:
        return await self._call(self._books.report, key_id, start, end, group_by)

    async def check(self) -> None:
        await self._call(self._books.check)

    def close(self) -> None:
        """Wait for the call that runs, end the thread and close the books."""
        self._thread.shutdown(wait=True)
        self._books.close()

    async def _call(self, call: Callable[..., _Result], *arguments: Any) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)
