"""The ledger on a real file: nothing twice, nothing by halves, and no file of another time."""

import multiprocessing
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.access import sqlite_books as module
from gateway.access.sqlite_books import SCHEMA, SqliteBooks
from gateway.errors import ConfigError

from .books import NOW, balances, new_key, record, records, rows

DAY = 86_400
AT_ONCE = 6  # processes that open a new ledger at the same moment


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqliteBooks]:
    ledger = SqliteBooks.open(path)
    yield ledger
    ledger.close()


# --- the file


def test_a_new_ledger_is_for_its_owner_only_and_waits_for_the_disk(ledger: SqliteBooks, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]
    assert rows(path, "PRAGMA user_version") == [(SCHEMA,)]
    ledger.add(new_key())
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_a_ledger_opens_again_with_all_that_is_in_it(ledger: SqliteBooks, path: Path) -> None:
    key = new_key(models=("a/b", "c"), rpm=5, max_streams=2, balance_microusd=7, expires_at=NOW + 1)
    ledger.add(key)
    ledger.add(plain := new_key())
    again = SqliteBooks.open(path)
    assert again.all_keys() == [key, plain]
    again.close()


def test_a_schema_is_brought_forward_with_what_was_written_before(
    ledger: SqliteBooks, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.add(key := new_key(balance_microusd=100))
    ledger.settle([record(key.id, 30)])
    monkeypatch.setattr(module, "SCHEMA", SCHEMA + 2)
    steps = [*vars(module)["_MIGRATIONS"], ("ALTER TABLE usage ADD COLUMN region TEXT",), ("CREATE TABLE x (y)",)]
    monkeypatch.setattr(module, "_MIGRATIONS", steps)
    newer = SqliteBooks.open(path)
    assert rows(path, "PRAGMA user_version") == [(SCHEMA + 2,)]
    assert rows(path, "SELECT region, cost_microusd FROM usage") == [(None, 30)]
    assert newer.all_keys()[0].balance_microusd == 70
    newer.close()
    SqliteBooks.open(path).close()  # and not a second time


def test_a_step_that_fails_leaves_the_schema_as_it_was(
    ledger: SqliteBooks, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.add(new_key())
    before = rows(path, "SELECT sql FROM sqlite_schema")
    monkeypatch.setattr(module, "SCHEMA", SCHEMA + 1)
    broken = ("ALTER TABLE usage ADD COLUMN region TEXT", "CREATE TABLE keys (id)")
    monkeypatch.setattr(module, "_MIGRATIONS", [*vars(module)["_MIGRATIONS"], broken])
    with pytest.raises(ConfigError, match=r"storage\.path: cannot use .*keys already exists"):
        SqliteBooks.open(path)
    assert rows(path, "SELECT sql FROM sqlite_schema") == before
    assert rows(path, "PRAGMA user_version") == [(SCHEMA,)]


def test_a_newer_schema_is_refused_and_not_touched(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=rf"newer version \(schema {SCHEMA + 1}, this one knows {SCHEMA}\)"):
        SqliteBooks.open(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"this is no database at all, but notes. " * 100, None])
def test_what_is_no_ledger_is_refused(path: Path, content: bytes | None) -> None:
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"storage\.path: cannot use"):
        SqliteBooks.open(path)
    with pytest.raises(ConfigError, match=r"storage\.path: cannot use"):
        SqliteBooks.open(path / "below" / "it")


def open_and_add(path: Path, begin: "multiprocessing.synchronize.Barrier") -> None:
    begin.wait(30)
    ledger = SqliteBooks.open(path)
    ledger.add(new_key())
    ledger.close()


def test_processes_that_make_a_ledger_at_the_same_moment_share_it(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    begin = context.Barrier(AT_ONCE)
    processes = [context.Process(target=open_and_add, args=(path, begin)) for _ in range(AT_ONCE)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * AT_ONCE
    assert len(balances(path)) == AT_ONCE


# --- keys


def test_a_key_is_revoked_once(ledger: SqliteBooks) -> None:
    ledger.add(key := new_key())
    assert ledger.revoke(key.id, NOW)
    assert not ledger.revoke(key.id, NOW + 1)
    assert not ledger.revoke("key_of_nobody", NOW)
    assert ledger.all_keys()[0].revoked_at == NOW


def test_credit_is_added_where_there_is_a_balance(ledger: SqliteBooks) -> None:
    ledger.add(limited := new_key(balance_microusd=5))
    ledger.add(free := new_key())
    assert ledger.credit(limited.id, 10) == 15
    assert ledger.credit(free.id, 10) is None
    assert ledger.credit("key_of_nobody", 10) is None
    assert [key.balance_microusd for key in ledger.all_keys()] == [15, None]


def test_only_what_others_write_changes_the_version(ledger: SqliteBooks, path: Path) -> None:
    before = ledger.version()
    ledger.add(new_key())
    assert ledger.version() == before
    beside = SqliteBooks.open(path)
    beside.add(new_key())
    assert ledger.version() != before
    beside.close()


# --- usage


def test_records_and_what_they_take_are_written_together(ledger: SqliteBooks, path: Path) -> None:
    ledger.add(one := new_key(balance_microusd=1000))
    ledger.add(two := new_key(balance_microusd=50))
    ledger.add(free := new_key())
    batch = [record(one.id, 10), record(two.id, 60), record(free.id, 5), record(None, 7), record(one.id, 90)]
    batch.append(record(one.id, 1, hedge_cost_microusd=2))
    assert ledger.settle(batch) == {one.id: 897, two.id: -10}
    assert balances(path) == {one.id: 897, two.id: -10, free.id: None}
    assert records(path) == [usage.id for usage in batch]
    assert ledger.totals() == {one.id: (3, 103), two.id: (1, 60), free.id: (1, 5)}


def test_a_record_that_is_told_twice_is_booked_once_and_the_balance_told(ledger: SqliteBooks, path: Path) -> None:
    ledger.add(key := new_key(balance_microusd=100))
    usage = record(key.id, 30)
    assert ledger.settle([usage, usage]) == {key.id: 70}
    assert ledger.settle([usage]) == {key.id: 70}
    assert ledger.settle([record(key.id, 20), usage]) == {key.id: 50}
    assert len(records(path)) == 2


def test_all_of_a_record_is_kept_and_missing_is_not_zero(ledger: SqliteBooks, path: Path) -> None:
    nothing = {"upstream": None, "prompt_tokens": None, "completion_tokens": None, "ttft_ms": None}
    usage = record(None, 0, ending="upstream_error", estimated=True, **nothing)
    ledger.settle([usage])
    assert rows(path, "SELECT * FROM usage") == [usage.row()]


def test_a_record_that_cannot_be_kept_is_an_error_and_takes_its_batch_with_it(
    ledger: SqliteBooks, path: Path
) -> None:
    ledger.add(key := new_key(balance_microusd=100))
    for broken in ({"ending": None}, {"prompt_tokens": "many"}):
        with pytest.raises(sqlite3.IntegrityError):
            ledger.settle([record(key.id), record(key.id, **broken)])
    with pytest.raises(OverflowError):
        ledger.settle([record(key.id), record(key.id, prompt_tokens=1 << 64)])
    assert records(path) == []
    assert balances(path) == {key.id: 100}
    assert ledger.settle([record(key.id)]) == {key.id: 90}


def limited(path: Path) -> tuple[sqlite3.Connection, SqliteBooks]:
    """A ledger, and the connection it has, to be told of a disk that ends."""
    SqliteBooks.open(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    return connection, SqliteBooks(connection)


def test_a_full_disk_takes_no_part_of_a_batch_and_all_of_it_once_there_is_room(path: Path) -> None:
    connection, ledger = limited(path)
    ledger.add(key := new_key(balance_microusd=1_000_000))
    ledger.settle([record(key.id)])
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    batch = [record(key.id) for _ in range(500)]
    with pytest.raises(sqlite3.OperationalError, match="full"):
        ledger.settle(batch)
    assert len(records(path)) == 1
    assert balances(path) == {key.id: 999_990}
    connection.execute("PRAGMA max_page_count = 1000000")
    assert ledger.settle(batch) == {key.id: 994_990}
    assert len(records(path)) == 501
    ledger.close()


def test_a_disk_that_may_only_be_read_takes_nothing_and_is_still_read(path: Path) -> None:
    connection, ledger = limited(path)
    ledger.add(key := new_key(balance_microusd=100))
    connection.execute("PRAGMA query_only = ON")
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        ledger.settle([record(key.id)])
    assert ledger.all_keys() == [key]
    connection.execute("PRAGMA query_only = OFF")
    assert ledger.settle([record(key.id)]) == {key.id: 90}
    ledger.close()


def test_a_writer_beside_is_waited_for(ledger: SqliteBooks, path: Path) -> None:
    """The command line credits a key while the server settles: neither is lost."""
    ledger.add(key := new_key(balance_microusd=0))
    beside = SqliteBooks.open(path)
    for _ in range(20):
        beside.credit(key.id, 10)
        ledger.settle([record(key.id, 3)])
    assert balances(path) == {key.id: 140}
    beside.close()


AMOUNTS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1000), st.integers(0, 5)), max_size=40)


@settings(max_examples=25)
@given(AMOUNTS, st.integers(1, 7))
def test_a_balance_is_what_it_was_less_the_records_however_they_are_told(
    tmp_path_factory: pytest.TempPathFactory, amounts: list[tuple[int, int, int]], size: int
) -> None:
    path = tmp_path_factory.mktemp("told") / "ledger.db"
    ledger = SqliteBooks.open(path)
    keys = [new_key(balance_microusd=10_000) for _ in range(3)]
    for key in keys:
        ledger.add(key)
    told = [record(keys[number].id, cost) for number, cost, _ in amounts]
    told += [told[again % len(told)] for _, _, again in amounts if told]
    for start in range(0, len(told), size):
        ledger.settle(told[start : start + size])
    assert sorted(records(path)) == sorted({usage.id for usage in told})
    for key in keys:
        spent = sum(one.cost_microusd for one in told[: len(amounts)] if one.key_id == key.id)
        assert balances(path)[key.id] == 10_000 - spent
    ledger.close()


# --- reports


def test_a_report_sums_a_keys_records_by_day_or_by_model(ledger: SqliteBooks) -> None:
    midnight = NOW // DAY * DAY
    mine, other = "key_mine", "key_other"
    ledger.settle(
        [
            record(mine, 10, ended_at=midnight - 1, model="a"),
            record(mine, 20, ended_at=midnight, model="b", prompt_tokens=None, completion_tokens=None),
            record(mine, 30, ended_at=midnight + DAY - 1, model="a", estimated=True, hedge_cost_microusd=4),
            record(mine, 99, ended_at=midnight + DAY),
            record(other, 99, ended_at=midnight),
            record(None, 99, ended_at=midnight),
        ]
    )
    days = ledger.report(mine, midnight - DAY, midnight + DAY, "day")
    assert [(day["day"], day["requests"], day["cost_microusd"]) for day in days] == [
        ("2027-01-14", 1, 10),
        ("2027-01-15", 2, 50),
    ]
    assert days[1]["hedge_cost_microusd"] == 4
    assert days[1]["estimated_requests"] == 1
    assert (days[1]["prompt_tokens"], days[1]["completion_tokens"]) == (3, 5)
    models = ledger.report(mine, midnight - DAY, midnight + DAY, "model")
    assert [(one["model"], one["requests"], one["cost_microusd"]) for one in models] == [("a", 2, 40), ("b", 1, 20)]
    assert [one["cost_microusd"] for one in ledger.report(None, midnight, midnight + 1, "day")] == [99]
    assert ledger.report("key_of_nobody", 0, 1 << 40, "day") == []
