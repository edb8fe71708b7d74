"""The keys of the books in memory: what others write is known soon, and unknown keys cost little."""

import asyncio

import pytest

from gateway.access.books_thread import BooksThread
from gateway.access.key_ring import KeyRing
from tests.kit.turns import TurnWatch, collector_as_in_service

from .books import NOW, new_key, new_secret, record
from .memory_books import MemoryBooks, Store
from .process import Process, funded, until


async def test_a_key_that_was_made_a_moment_ago_is_known_to_all_who_ask_at_once(process: Process) -> None:
    assert await process.keys.find(b"nobody") is None
    key = new_key()
    process.beside.create(key)
    found = await asyncio.gather(*(process.keys.find(key.digest) for _ in range(200)))
    assert all(account is found[0] and account is not None for account in found)


async def test_however_many_unknown_keys_are_tried_the_ledger_is_looked_at_now_and_then(process: Process) -> None:
    looks = 0
    version = process.ledger.version

    def counted() -> int:
        nonlocal looks
        looks += 1
        return version()

    process.ledger.version = counted  # type: ignore[method-assign]
    await asyncio.gather(*(process.keys.find(new_secret().encode()) for _ in range(500)))
    assert looks <= 3


async def test_what_other_processes_write_is_known_soon(soon: None, process: Process) -> None:
    owner = await funded(process, 5)
    process.beside.credit(owner.key.id, 10)
    process.beside.revoke(owner.key.id, NOW)
    await until(lambda: owner.available == 15 and owner.key.revoked_at == NOW)


async def test_a_change_is_known_although_who_asked_for_it_has_left(soon: None, process: Process) -> None:
    key = new_key()
    process.beside.create(key)
    asking = asyncio.create_task(process.keys.find(key.digest))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await until(lambda: process.keys.known(key.digest) is not None)


async def test_a_credit_of_what_was_just_spent_is_seen(soon: None, process: Process) -> None:
    owner = await funded(process, 100)
    process.bank.settle(record(owner.key.id, 40), None)
    await process.written()
    assert await asyncio.to_thread(process.beside.credit, owner.key.id, 40) == 100  # what the books held before
    await until(lambda: owner.balance == 100)
    process.bank.settle(record(owner.key.id, 100), None)
    await process.written()
    await until(lambda: owner.balance == 0)


async def test_among_very_many_keys_a_change_is_found_without_holding_the_loop() -> None:
    store = Store()
    thread, beside = BooksThread(MemoryBooks(store)), MemoryBooks(store)
    keys = (new_key() for _ in range(20_000))
    store.keys.update((key.id, key) for key in keys)
    ring, watch, key = KeyRing(thread), TurnWatch(), new_key()
    ring.load()
    beside.create(key)
    with collector_as_in_service():
        watch.start()
        found = await ring.find(key.digest)
        watch.stop()
    thread.close()
    assert found is not None
    assert watch.longest < 0.01  # at once, all keys would take 16 ms
