"""The keys of the books in memory: what others write is known soon, and unknown keys cost little."""

import asyncio

from .books import NOW, new_key, new_secret
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
