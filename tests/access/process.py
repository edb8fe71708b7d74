"""A process with its bank and its key ring, on real books whose disk may refuse."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gateway.access.accounts import Account
from gateway.access.books import UsageRecord
from gateway.access.books_thread import BooksThread
from gateway.access.key_ring import KeyRing
from gateway.access.local_bank import LocalBank
from gateway.access.sqlite_books import SqliteBooks
from gateway.errors import LedgerError

from .books import new_key

PATIENCE = 20.0
DISK_FULL = LedgerError("database or disk is full", "storage.path: database or disk is full")
CHUNK = 7  # micro-dollars by which a settlement may exceed its reservation: the cost of the event under way


class FragileLedger(SqliteBooks):
    """A ledger whose disk may refuse."""

    failure: LedgerError | None = None

    def settle(self, batch: Sequence[UsageRecord]) -> Mapping[str, int]:
        if self.failure is not None:
            raise self.failure
        return super().settle(batch)

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure
        super().check()


class Process:
    """A process with its bank, and beside it the same books as the command line has them open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.beside = SqliteBooks.open(path)
        self.start()

    def start(self) -> None:
        self.ledger = FragileLedger.open(self.path)
        self._books = BooksThread(self.ledger)
        self.keys = KeyRing(self._books)
        self.bank = LocalBank(self._books, self.keys)
        self.keys.load()
        loop = asyncio.get_running_loop()
        self._writer, self._follower = loop.create_task(self.bank.run()), loop.create_task(self.keys.run())

    async def account(self, secret: bytes) -> Account:
        account = await self.keys.find(secret)
        assert account is not None
        return account

    async def written(self) -> None:
        """Wait until everything that was settled is in the file."""
        async with asyncio.timeout(PATIENCE):
            while self.bank.statistics().unwritten:  # noqa: ASYNC110 - the thread has no event
                await asyncio.sleep(0.001)  # a loop that spins would keep the interpreter's lock from the thread

    async def look(self) -> None:
        """Wait until the key ring has read what other handles have written."""
        await self.keys.find(b"the digest of no key")

    async def crash(self) -> None:
        """End the process and lose every record that was not written."""
        self._writer.cancel()
        with suppress(asyncio.CancelledError):
            await self._writer
        await self._end()

    async def stop(self, seconds: float = PATIENCE) -> None:
        await self.bank.close(seconds)
        async with asyncio.timeout(PATIENCE):
            await self._writer
        await self._end()
        self.beside.close()

    async def _end(self) -> None:
        self._follower.cancel()
        with suppress(asyncio.CancelledError):
            await self._follower
        self._books.close()
        self.bank.abandon_unwritten()


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - the thread has no event
            await asyncio.sleep(0.001)


async def funded(process: Process, balance: int | None, **fields: Any) -> Account:
    key = new_key(balance_microusd=balance, **fields)
    process.beside.create(key)
    return await process.account(key.digest)
