"""Shell: the keys of the books in memory, as accounts; they follow what others write into the books."""

import asyncio
import logging

from gateway import clock
from gateway.access.accounts import Account
from gateway.access.books import Key
from gateway.access.books_thread import BooksThread
from gateway.errors import LedgerError

REFRESH_SECONDS = 1.0  # how long a revocation, a credit or a new key may stay unknown
LOOK_SECONDS = 0.05  # the least pause between two searches for unknown keys, however many keys clients try

_log = logging.getLogger("rivergate.access")


class KeyRing:
    """The accounts of all keys in the books, found by the id or by the digest of a key."""

    def __init__(self, books: BooksThread) -> None:
        self._books = books
        self._accounts: dict[str, Account] = {}
        self._by_digest: dict[bytes, Account] = {}
        self._version = -1
        self._search = asyncio.Lock()
        self._searched_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether no key was ever made, so that whoever reaches the listener is served."""
        return not self._accounts

    def load(self) -> None:
        """Read the keys, at the start. Raises `LedgerError`."""
        self._version, keys = self._books.load()
        self._take(keys)

    async def run(self) -> None:
        """Take over changes of the books every `REFRESH_SECONDS`, until the task is cancelled."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await self._refresh()

    def account(self, key_id: str) -> Account | None:
        """The account of the key with this id."""
        return self._accounts.get(key_id)

    def known(self, digest: bytes) -> Account | None:
        """The account of the key with this digest, if the key was there at the last look."""
        return self._by_digest.get(digest)

    async def find(self, digest: bytes) -> Account | None:
        """The account of the key with this digest, also if the key was made a moment ago."""
        if digest not in self._by_digest:
            asked_at = clock.monotonic()
            async with self._search:
                # Only the first of several waiting callers searches. The others see that it began after they asked.
                if self._searched_at < asked_at:
                    await asyncio.sleep(self._searched_at + LOOK_SECONDS - clock.monotonic())
                    self._searched_at = clock.monotonic()
                    await self._refresh()
        return self._by_digest.get(digest)

    async def _refresh(self) -> None:
        """Read the keys again if another process has written into the books."""
        try:
            version = await self._books.version()
            if version != self._version:
                await self._books.take_changes(self._take)
                self._version = version
        except LedgerError as error:
            _log.warning("the ledger cannot be read", extra={"fields": {"reason": error.reason}})

    def _take(self, keys: list[Key]) -> None:
        now = clock.monotonic()
        for key in keys:
            account = self._accounts.get(key.id)
            if account is None:
                account = self._accounts[key.id] = Account(key, now)
                self._by_digest[key.digest] = account
            else:
                account.on_key(key, now)
