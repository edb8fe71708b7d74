"""The ledger on a real file: it writes nothing twice or by halves, and refuses files of other versions."""

import multiprocessing
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.access import sqlite_books as module
from gateway.access.sqlite_books import SCHEMA, SqliteBooks
from gateway.errors import ConfigError, LedgerError

from .books import balances, new_key, record, records, rows

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
    ledger.create(new_key())
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_a_schema_is_brought_forward_with_what_was_written_before(
    ledger: SqliteBooks, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.create(key := new_key(balance_microusd=100))
    ledger.settle([record(key.id, 30)])
    monkeypatch.setattr(module, "SCHEMA", SCHEMA + 2)
    steps = [*vars(module)["_MIGRATIONS"], ("ALTER TABLE usage ADD COLUMN region TEXT",), ("CREATE TABLE x (y)",)]
    monkeypatch.setattr(module, "_MIGRATIONS", steps)
    newer = SqliteBooks.open(path)
    assert rows(path, "PRAGMA user_version") == [(SCHEMA + 2,)]
    assert rows(path, "SELECT region, cost_microusd FROM usage") == [(None, 30)]
    assert newer.all_keys()[0].balance_microusd == 70
    newer.close()
    SqliteBooks.open(path).close()  # a second start migrates nothing


def test_a_ledger_of_the_first_schema_keeps_its_keys_which_have_no_further_rights(path: Path) -> None:
    first = vars(module)["_MIGRATIONS"][0]
    connection = sqlite3.connect(path)
    for statement in first:
        connection.execute(statement)
    connection.execute("INSERT INTO keys (id, digest, prefix, name, created_at) VALUES ('k', x'00', 'p', 'old', 1)")
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()
    ledger = SqliteBooks.open(path)
    ledger.create(new_key(admin=True, publish=True))
    assert [(key.name, key.rights) for key in ledger.all_keys()] == [("old", []), ("somebody", ["admin", "publish"])]
    ledger.close()


def test_a_step_that_fails_leaves_the_schema_as_it_was(
    ledger: SqliteBooks, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.create(new_key())
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
def test_a_file_that_is_no_ledger_is_refused(path: Path, content: bytes | None) -> None:
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
    ledger.create(new_key())
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


# --- usage


def test_records_are_rows_in_the_order_they_were_settled_in(ledger: SqliteBooks, path: Path) -> None:
    ledger.create(key := new_key(balance_microusd=1000))
    batch = [record(key.id, 10), record(None, 7), record(key.id, 90)]
    ledger.settle(batch)
    ledger.settle([batch[0], last := record(key.id, 1)])
    assert balances(path) == {key.id: 899}
    assert records(path) == [usage.id for usage in [*batch, last]]


def test_all_of_a_record_is_kept_and_missing_is_not_zero(ledger: SqliteBooks, path: Path) -> None:
    nothing = {"upstream": None, "prompt_tokens": None, "completion_tokens": None, "ttft_ms": None}
    usage = record(None, 0, ending="upstream_error", estimated=True, **nothing)
    ledger.settle([usage])
    assert rows(path, "SELECT * FROM usage") == [tuple(usage)]


def limited(path: Path) -> tuple[sqlite3.Connection, SqliteBooks]:
    """A ledger, and its SQLite connection, whose limits stand for a full disk."""
    SqliteBooks.open(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    return connection, SqliteBooks(connection, path)


def test_a_full_disk_takes_no_part_of_a_batch_and_all_of_it_once_there_is_room(path: Path) -> None:
    connection, ledger = limited(path)
    ledger.create(key := new_key(balance_microusd=1_000_000))
    ledger.settle([record(key.id)])
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    batch = [record(key.id) for _ in range(500)]
    with pytest.raises(LedgerError, match="full"):
        ledger.settle(batch)
    assert len(records(path)) == 1
    assert balances(path) == {key.id: 999_990}
    connection.execute("PRAGMA max_page_count = 1000000")
    assert ledger.settle(batch) == {key.id: 994_990}
    assert len(records(path)) == 501
    ledger.close()


def test_a_disk_that_may_only_be_read_takes_nothing_and_is_still_read(path: Path) -> None:
    connection, ledger = limited(path)
    ledger.create(key := new_key(balance_microusd=100))
    connection.execute("PRAGMA query_only = ON")
    with pytest.raises(LedgerError, match="readonly"):
        ledger.settle([record(key.id)])
    assert ledger.all_keys() == [key]
    connection.execute("PRAGMA query_only = OFF")
    assert ledger.settle([record(key.id)]) == {key.id: 90}
    ledger.close()
