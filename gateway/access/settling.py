"""Shell: the writer of the books: it collects usage records and writes them in batches.

The invariant: records are written in the order they came in, and a record leaves the queue only once it is written.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.access.books import UsageRecord
from gateway.access.books_thread import BooksThread
from gateway.errors import LedgerError

RETRY_SECONDS = 1.0  # between two tries while the books cannot be written
CHECK_SECONDS = 5.0  # how long a full disk can go unnoticed while there is no record to write
MAX_BATCH = 1000  # records in one transaction
# How long a batch waits for further records. With a commit for each record, commits took an eighth of the CPU of a
# request, and kept the interpreter's lock from the next request (bench/relay.py).
GATHER_SECONDS = 0.05
# How long the writer waits after `GATHER_SECONDS` for one more settlement, so that the commit begins right behind it:
# an answer has just ended, and there is often a gap before the next request. At another moment the commit would take
# the core from a request.
LINGER_SECONDS = 0.02

OnWritten = Callable[[Sequence[UsageRecord], Mapping[str, int]], None]  # the records, and the balances of their keys

_log = logging.getLogger("rivergate.access")


class Settling:
    """The queue of records on their way to the books."""

    def __init__(self, books: BooksThread, on_written: OnWritten) -> None:
        self._books = books
        self._on_written = on_written
        self._queue: list[UsageRecord] = []
        self._wake = asyncio.Event()
        self._give_up_at: float | None = None  # loop time, set by `close`: after it nothing more is written
        self.failure: str | None = None  # why the books cannot be written

    def __len__(self) -> int:
        """The number of records that are not written yet."""
        return len(self._queue)

    def add(self, usage: UsageRecord) -> None:
        """Queue a record, which is written soon."""
        self._queue.append(usage)
        self._wake.set()

    async def run(self) -> None:
        """Write incoming records, and check every `CHECK_SECONDS` that the books can be written, until `close`."""
        loop = asyncio.get_running_loop()
        check_at = loop.time() + CHECK_SECONDS
        while not self._is_done(loop.time()):
            if not self._queue or self.failure:
                await self._sleep(self._retry_after(loop.time()) if self.failure else check_at - loop.time())
            self._wake.clear()
            if self._queue or self.failure or loop.time() >= check_at:
                if self._queue and not self.failure and self._give_up_at is None:
                    await self._gather()
                await self._write()
                check_at = loop.time() + CHECK_SECONDS

    async def close(self, seconds: float) -> None:
        """Let `run` write what is left and end, within this time."""
        self._give_up_at = asyncio.get_running_loop().time() + seconds
        self._wake.set()
        while not self._is_done(asyncio.get_running_loop().time()):  # noqa: ASYNC110 - the writer's own pace
            await asyncio.sleep(0.01)

    def abandon(self) -> None:
        """Write the records that are still queued to the log, so that they can be booked by hand."""
        unwritten, self._queue = self._queue, []
        for usage in unwritten:
            fields = {"record": _as_json(usage), "reason": self.failure}
            _log.error("a record is not in the ledger; book it by hand", extra={"fields": fields})

    # --- inside

    def _is_done(self, now: float) -> bool:
        return self._give_up_at is not None and (not self._queue or now >= self._give_up_at)

    def _retry_after(self, now: float) -> float:
        return RETRY_SECONDS if self._give_up_at is None else min(RETRY_SECONDS, self._give_up_at - now)

    async def _gather(self) -> None:
        await asyncio.sleep(GATHER_SECONDS)
        self._wake.clear()
        await self._sleep(LINGER_SECONDS)

    async def _sleep(self, seconds: float) -> None:
        """Wait at most `seconds` for a record; while the books cannot be written, a record does not end the wait."""
        seconds = max(seconds, 0.0)
        try:
            async with asyncio.timeout(seconds):
                await (asyncio.sleep(seconds + 1) if self.failure else self._wake.wait())
        except TimeoutError:
            pass

    async def _write(self) -> None:
        """Write the oldest records; if there are none, check that the books can be written."""
        batch = self._queue[:MAX_BATCH]
        balances: Mapping[str, int] = {}
        try:
            if batch:
                balances = await self._books.settle(batch)
            else:
                await self._books.check()
        except LedgerError as error:
            self._on_failure(error.reason)
            return
        if self.failure is not None:
            _log.warning("the ledger can be written again", extra={"fields": {"records": len(self._queue)}})
            self.failure = None
        del self._queue[: len(batch)]
        self._on_written(batch, balances)

    def _on_failure(self, reason: str) -> None:
        if self.failure is None:
            fields = {"reason": reason, "records": len(self._queue)}
            _log.error("the ledger cannot be written; new requests of keys are refused", extra={"fields": fields})
        self.failure = reason


def _as_json(usage: UsageRecord) -> dict[str, Any]:
    """A record with the names of the books' columns; integers of more than 63 bits become text, for JSON readers."""
    row = usage._asdict().items()
    return {name: str(value) if isinstance(value, int) and value.bit_length() > 63 else value for name, value in row}
