"""The writer of the books: nothing is lost while the disk refuses, nor at a stop, and nothing is booked twice."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from gateway.access.accounts import Quote
from gateway.access.books import UsageRecord
from gateway.access.settling import MAX_BATCH
from gateway.errors import LedgerError
from gateway.observe.logs import JsonFormatter

from .books import balances, record, records
from .process import DISK_FULL, Process, funded, until


async def test_more_than_a_batch_is_written_in_the_order_it_was_settled(process: Process) -> None:
    owner = await funded(process, None)
    usages = [record(owner.key.id, 1) for _ in range(2 * MAX_BATCH + 1)]
    for usage in usages:
        process.bank.settle(usage, owner.lease(Quote(0, 0)))
    await process.written()
    assert records(process.path) == [usage.id for usage in usages]


async def test_while_the_disk_refuses_all_is_kept_and_written_when_it_is_back(
    soon: None, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    owner = await funded(process, 100)
    lease = owner.lease(Quote(1, 50))
    process.ledger.failure = DISK_FULL
    process.bank.settle(record(owner.key.id, 10), owner.lease(Quote(1, 20)))
    await until(lambda: process.bank.failure is not None)
    assert process.bank.failure == "database or disk is full"
    process.bank.settle(record(owner.key.id, 20), lease)  # a running stream goes on and settles
    assert owner.available == 70
    assert process.bank.statistics().unwritten == 2
    process.ledger.failure = None
    await process.written()
    assert process.bank.failure is None
    assert (owner.available, balances(process.path)[owner.key.id], len(records(process.path))) == (70, 70, 2)
    said = [line.message for line in caplog.records]
    assert len([line for line in said if "cannot be written" in line]) == 1  # one line, and not a line for each try
    assert len([line for line in said if "can be written again" in line]) == 1


async def test_a_count_that_no_ledger_can_hold_is_a_failure_that_is_told(soon: None, process: Process) -> None:
    usage = record(None, prompt_tokens=1 << 64)
    process.bank.settle(usage, None)
    await until(lambda: process.bank.failure is not None)
    process.ledger.failure = None
    process.ledger.settle = lambda batch: {}  # type: ignore[method-assign]  # so that the bank can close
    await process.written()


async def test_a_commit_that_went_through_unseen_is_not_booked_again(soon: None, process: Process) -> None:
    """The commit reaches the disk, but the bank gets an error instead of its success."""
    owner = await funded(process, 100)
    settle, commits = process.ledger.settle, []

    def unseen(batch: Sequence[UsageRecord]) -> Mapping[str, int]:
        balances = settle(batch)
        commits.append(balances)
        if len(commits) == 1:
            raise LedgerError("disk I/O error", "storage.path: disk I/O error")
        return balances

    process.ledger.settle = unseen  # type: ignore[method-assign]
    process.bank.settle(record(owner.key.id, 30), owner.lease(Quote(1, 50)))
    await process.written()
    assert (owner.available, balances(process.path)[owner.key.id], len(records(process.path))) == (70, 70, 1)


async def test_what_a_stop_finds_unwritten_is_written(tmp_path: Path) -> None:
    process = Process(tmp_path / "ledger.db")
    owner = await funded(process, 100)
    for _ in range(10):
        process.bank.settle(record(owner.key.id, 1), owner.lease(Quote(0, 1)))
    await process.stop()
    assert balances(process.path) == {owner.key.id: 90}
    assert len(records(process.path)) == 10


async def test_a_disk_that_refuses_is_noticed_without_a_record_and_also_that_it_is_back(
    soon: None, process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    await until(lambda: not process.bank.statistics().unwritten)
    process.ledger.failure = DISK_FULL
    await until(lambda: process.bank.failure == "database or disk is full")
    process.ledger.failure = None
    await until(lambda: process.bank.failure is None)
    assert [line.message for line in caplog.records if "can be written again" in line.message]


async def test_a_disk_that_comes_back_during_a_stop_gets_all_records(soon: None, tmp_path: Path) -> None:
    process = Process(tmp_path / "ledger.db")
    owner = await funded(process, 100)
    process.ledger.failure = DISK_FULL
    process.bank.settle(record(owner.key.id, 30), owner.lease(Quote(0, 50)))
    await until(lambda: process.bank.failure is not None)
    stop = asyncio.get_running_loop().create_task(process.stop())
    tries: list[int] = []
    settle = process.ledger.settle

    def refused(batch: Sequence[UsageRecord]) -> Mapping[str, int]:
        tries.append(len(batch))
        process.ledger.failure = None if len(tries) > 3 else process.ledger.failure
        return settle(batch)

    process.ledger.settle = refused  # type: ignore[method-assign]
    await stop
    assert balances(process.path) == {owner.key.id: 70}


async def test_what_a_stop_cannot_write_is_in_the_log_record_by_record(
    soon: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    process = Process(tmp_path / "ledger.db")
    owner = await funded(process, 100)
    process.ledger.failure = DISK_FULL
    usages = [record(owner.key.id, cost) for cost in range(MAX_BATCH + 5)]
    usages.append(record(None, prompt_tokens=1 << 64))
    for usage in usages:
        process.bank.settle(usage, None)
    await process.stop(0.1)
    lines = [json.loads(JsonFormatter().format(line)) for line in caplog.records if "by hand" in line.message]
    assert [line["reason"] for line in lines] == ["database or disk is full"] * len(usages)
    assert [line["record"]["id"] for line in lines] == [usage.id for usage in usages]
    assert lines[7]["record"] == usages[7]._asdict()
    assert lines[-1]["record"]["prompt_tokens"] == str(1 << 64)
    assert process.bank.statistics().unwritten == 0
