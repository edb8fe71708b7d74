"""Shell: the books in one SQLite file, which the server and `rivergate keys` may have open at the same moment."""

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from gateway.access.books import SUM_NAMES, GroupBy, Key, UsageGroup, UsageRecord
from gateway.errors import ConfigError, LedgerError

BUSY_SECONDS = 5.0  # how long a writer waits for another process that writes at the same moment
SCHEMA = 2  # the version of the tables, kept in `PRAGMA user_version`
_MIGRATIONS = [  # the statements that lead from each schema to the next
    (
        """
    CREATE TABLE keys (
        id TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, prefix TEXT NOT NULL, name TEXT NOT NULL,
        models TEXT, rpm INTEGER, max_streams INTEGER, balance_microusd INTEGER,
        created_at INTEGER NOT NULL, expires_at INTEGER, revoked_at INTEGER
    ) STRICT
    """,
        """
    CREATE TABLE usage (
        id TEXT PRIMARY KEY, request_id TEXT NOT NULL, key_id TEXT, model TEXT NOT NULL, upstream TEXT,
        ending TEXT NOT NULL, prompt_tokens INTEGER, completion_tokens INTEGER, estimated INTEGER NOT NULL,
        cost_microusd INTEGER NOT NULL, hedge_cost_microusd INTEGER NOT NULL,
        ttft_ms REAL, duration_ms REAL NOT NULL, ended_at INTEGER NOT NULL
    ) STRICT
    """,
        "CREATE INDEX usage_by_key ON usage (key_id, ended_at)",
    ),
    (
        "ALTER TABLE keys ADD COLUMN admin INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE keys ADD COLUMN publish INTEGER NOT NULL DEFAULT 0",
    ),
]


_KEY_COLUMNS = tuple(Key.__dataclass_fields__)
_USAGE_COLUMNS = UsageRecord._fields
_MAX_PLACES = 500  # of one statement; old builds of SQLite allow 999
_INSERT_USAGE = (
    f"INSERT INTO usage ({', '.join(_USAGE_COLUMNS)}) VALUES ({', '.join('?' * len(_USAGE_COLUMNS))}) "
    "ON CONFLICT (id) DO NOTHING"
)
_DAY = "strftime('%Y-%m-%d', ended_at, 'unixepoch')"
_GROUPS: Mapping[UsageGroup, str] = {"key": "key_id", "model": "model", "upstream": "upstream", "day": _DAY}
_SUMS = (
    "count(*), coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0), coalesce(sum(estimated), 0), "
    "sum(cost_microusd), sum(hedge_cost_microusd)"
)


class SqliteBooks:
    """The books in one open SQLite file."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the file, make it if it does not exist, and bring its schema forward. Raises `ConfigError`."""
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # names and balances are for its owner only
            connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=64
            )
            try:
                _prepare(connection, path)
            except BaseException:
                connection.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise ConfigError([f"storage.path: cannot use {path} as the ledger: {error}"]) from None
        return cls(connection, path)

    def close(self) -> None:
        self._connection.close()

    def version(self) -> int:
        with self._failing("read"):
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def check(self) -> None:
        with self._failing("write"), self._transaction():
            self._connection.execute(f"PRAGMA user_version = {SCHEMA}")

    # --- keys

    def all_keys(self) -> list[Key]:
        with self._failing("read"):
            rows = self._connection.execute(f"SELECT {', '.join(_KEY_COLUMNS)} FROM keys ORDER BY created_at, rowid")
            return [_key(row) for row in rows]

    def create(self, key: Key) -> None:
        models = json.dumps(key.models) if key.models else None
        values = [models if name == "models" else getattr(key, name) for name in _KEY_COLUMNS]
        places = ", ".join("?" * len(values))
        with self._failing("write"):
            self._connection.execute(f"INSERT INTO keys ({', '.join(_KEY_COLUMNS)}) VALUES ({places})", values)

    def revoke(self, key_id: str, now: int) -> bool:
        with self._failing("write"):
            done = self._connection.execute(
                "UPDATE keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (now, key_id)
            )
            return done.rowcount == 1

    def credit(self, key_id: str, microusd: int) -> int | None:
        with self._failing("write"):
            row = self._connection.execute(
                "UPDATE keys SET balance_microusd = balance_microusd + ? "
                "WHERE id = ? AND balance_microusd IS NOT NULL RETURNING balance_microusd",
                (microusd, key_id),
            ).fetchone()
            return None if row is None else int(row[0])

    # --- usage

    def settle(self, batch: Sequence[UsageRecord]) -> Mapping[str, int]:
        costs: dict[str, int] = {}
        with self._failing("write"), self._transaction():
            written = self._written([usage.id for usage in batch if usage.key_id is not None])
            self._connection.executemany(_INSERT_USAGE, batch)
            for usage in batch:
                if usage.key_id is not None:
                    cost = usage.total_microusd if usage.id not in written else 0
                    costs[usage.key_id] = costs.get(usage.key_id, 0) + cost
                    written.add(usage.id)
            balances = {key_id: self.credit(key_id, -cost) for key_id, cost in costs.items()}
        return {key_id: balance for key_id, balance in balances.items() if balance is not None}

    def report(self, key_id: str | None, start: int, end: int, group_by: GroupBy) -> list[dict[str, Any]]:
        group = "model" if group_by == "model" else _DAY
        query = (
            f"SELECT {group}, {_SUMS} FROM usage WHERE key_id IS ? AND ended_at >= ? AND ended_at < ? "
            "GROUP BY 1 ORDER BY 1"
        )
        with self._failing("read"):
            rows = self._connection.execute(query, (key_id, start, end))
            return [dict(zip((group_by, *SUM_NAMES), row, strict=True)) for row in rows]

    def totals(self, start: int, end: int, by: Sequence[UsageGroup]) -> list[dict[str, Any]]:
        groups = ", ".join(_GROUPS[group] for group in by)
        query = (
            f"SELECT {groups}, {_SUMS} FROM usage WHERE ended_at >= ? AND ended_at < ? "
            f"GROUP BY {groups} ORDER BY {groups}"
        )
        with self._failing("read"):
            return [
                dict(zip((*by, *SUM_NAMES), row, strict=True))
                for row in self._connection.execute(query, (start, end))
            ]

    def _written(self, ids: Sequence[str]) -> set[str]:
        """Those of the ids of records that are in the books already: they were written, and that was not noticed."""
        found: set[str] = set()
        for start in range(0, len(ids), _MAX_PLACES):
            some = ids[start : start + _MAX_PLACES]
            places = ", ".join("?" * len(some))
            found.update(
                row[0] for row in self._connection.execute(f"SELECT id FROM usage WHERE id IN ({places})", some)
            )
        return found

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._connection)

    @contextmanager
    def _failing(self, verb: str) -> Iterator[None]:
        """The border at which SQLite's own exceptions become `LedgerError`."""
        try:
            yield
        except (sqlite3.Error, OverflowError) as error:  # OverflowError: an integer beyond SQLite's 64 bits
            raise LedgerError(str(error), f"storage.path: cannot {verb} {self._path}: {error}") from error


class _Transaction:
    """A transaction: BEGIN IMMEDIATE, then COMMIT, or ROLLBACK after an exception."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            self._connection.execute("ROLLBACK" if kind is not None else "COMMIT")
        except sqlite3.Error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if kind is None:
                raise


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the schema forward, once, even if several processes open the file at the same moment."""
    if (version := _schema(connection)) > SCHEMA:
        message = f"storage.path: {path} was written by a newer version (schema {version}, this one knows {SCHEMA})"
        raise ConfigError([message])
    _enter_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")  # a record that was settled survives a power cut
    if version < SCHEMA:
        with _Transaction(connection):
            for statements in _MIGRATIONS[_schema(connection) :]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA}")


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log; try again as long as another process is switching at the same moment.

    SQLite's own busy timeout does not cover the switch: two processes would wait for each other.
    """
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.01)


def _schema(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _key(row: tuple[Any, ...]) -> Key:
    values = dict(zip(_KEY_COLUMNS, row, strict=True))
    values["models"] = tuple(json.loads(values["models"])) if values["models"] else ()
    values["admin"], values["publish"] = bool(values["admin"]), bool(values["publish"])
    return Key(**values)
