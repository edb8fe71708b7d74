"""Shell: the ledger: API keys, balances and usage records, in one SQLite file.

Blocking calls, for a thread of their own or a command. The invariant: a usage record and what it takes off a balance
are written in one transaction, once for each record, however often it is told.
"""

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gateway.errors import ConfigError

BUSY_SECONDS = 5.0  # for the command line and the server, which may write at the same moment
SCHEMA = 1
_MIGRATIONS = [  # from each schema to the next, statement by statement
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
]


@dataclass(frozen=True, slots=True)
class Key:
    """An API key. Times are Unix seconds; None: no limit, no end. `models` empty: all."""

    id: str
    digest: bytes
    prefix: str
    name: str
    models: tuple[str, ...]
    rpm: int | None
    max_streams: int | None
    balance_microusd: int | None
    created_at: int
    expires_at: int | None
    revoked_at: int | None = None


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """One completion, as it is billed. `key_id` None: in open mode, for nobody."""

    id: str
    request_id: str
    key_id: str | None
    model: str
    upstream: str | None
    ending: str
    prompt_tokens: int | None
    completion_tokens: int | None
    estimated: bool
    cost_microusd: int
    hedge_cost_microusd: int
    ttft_ms: float | None
    duration_ms: float
    ended_at: int

    def row(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in _USAGE_COLUMNS)


_KEY_COLUMNS = tuple(Key.__dataclass_fields__)
_USAGE_COLUMNS = tuple(UsageRecord.__dataclass_fields__)
_TAKES_IN = (
    f"INSERT INTO usage ({', '.join(_USAGE_COLUMNS)}) VALUES ({', '.join('?' * len(_USAGE_COLUMNS))}) "
    "ON CONFLICT (id) DO NOTHING"
)
_SUMS = (
    "count(*), coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0), coalesce(sum(estimated), 0), "
    "sum(cost_microusd), sum(hedge_cost_microusd)"
)
SUM_NAMES = (  # of a report, beside the day or the model
    "requests",
    "prompt_tokens",
    "completion_tokens",
    "estimated_requests",
    "cost_microusd",
    "hedge_cost_microusd",
)


class SqliteBooks:
    """One open ledger file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> "SqliteBooks":
        """Open the file, make it if there is none, bring its schema forward. Raises `ConfigError`."""
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # it holds names and balances: nobody else's
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
        return cls(connection)

    def close(self) -> None:
        self._connection.close()

    def version(self) -> int:
        """A number that changes when another process has written."""
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def check(self) -> None:
        """Write something that changes nothing. Raises `sqlite3.Error` if the disk takes nothing."""
        with self._transaction():
            self._connection.execute(f"PRAGMA user_version = {SCHEMA}")

    # --- keys

    def all_keys(self) -> list[Key]:
        """All, the revoked too, oldest first."""
        rows = self._connection.execute(f"SELECT {', '.join(_KEY_COLUMNS)} FROM keys ORDER BY created_at, rowid")
        return [_key(row) for row in rows]

    def add(self, key: Key) -> None:
        models = json.dumps(key.models) if key.models else None
        values = [models if name == "models" else getattr(key, name) for name in _KEY_COLUMNS]
        places = ", ".join("?" * len(values))
        self._connection.execute(f"INSERT INTO keys ({', '.join(_KEY_COLUMNS)}) VALUES ({places})", values)

    def revoke(self, key_id: str, now: int) -> bool:
        """Whether there was such a key that was not revoked yet."""
        done = self._connection.execute(
            "UPDATE keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (now, key_id)
        )
        return done.rowcount == 1

    def credit(self, key_id: str, microusd: int) -> int | None:
        """Add to a balance; the new one, None if there is no such key, or it has no balance to add to."""
        row = self._connection.execute(
            "UPDATE keys SET balance_microusd = balance_microusd + ? "
            "WHERE id = ? AND balance_microusd IS NOT NULL RETURNING balance_microusd",
            (microusd, key_id),
        ).fetchone()
        return None if row is None else int(row[0])

    # --- usage

    def settle(self, batch: Sequence[UsageRecord]) -> dict[str, int]:
        """Write records and take their cost off the balances, in one transaction; the balances that changed.

        A record that is there already changes nothing, and the balance is told. Raises `sqlite3.Error`, and then
        nothing is written.
        """
        costs: dict[str, int] = {}
        with self._transaction():
            for usage in batch:
                new = self._connection.execute(_TAKES_IN, usage.row()).rowcount == 1
                if usage.key_id is not None:
                    cost = usage.cost_microusd + usage.hedge_cost_microusd if new else 0
                    costs[usage.key_id] = costs.get(usage.key_id, 0) + cost
            balances = {key_id: self.credit(key_id, -cost) for key_id, cost in costs.items()}
        return {key_id: balance for key_id, balance in balances.items() if balance is not None}

    def report(
        self, key_id: str | None, start: int, end: int, group_by: Literal["day", "model"]
    ) -> list[dict[str, Any]]:
        """Sums of a key's records that ended from `start` until before `end`, by UTC day or by model."""
        group = "model" if group_by == "model" else "strftime('%Y-%m-%d', ended_at, 'unixepoch')"
        rows: Iterable[tuple[Any, ...]] = self._connection.execute(
            f"SELECT {group}, {_SUMS} FROM usage WHERE key_id IS ? AND ended_at >= ? AND ended_at < ? "
            "GROUP BY 1 ORDER BY 1",
            (key_id, start, end),
        )
        return [dict(zip((group_by, *SUM_NAMES), row, strict=True)) for row in rows]

    def totals(self) -> Mapping[str, tuple[int, int]]:
        """Per key: how many records there are, and what they took off its balance."""
        rows = self._connection.execute(
            "SELECT key_id, count(*), sum(cost_microusd + hedge_cost_microusd) FROM usage "
            "WHERE key_id IS NOT NULL GROUP BY key_id"
        )
        return {str(key_id): (int(count), int(cost)) for key_id, count, cost in rows}

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._connection)


class _Transaction:
    """BEGIN IMMEDIATE, then COMMIT or ROLLBACK."""

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
    """Bring the schema forward, once for all who open the file at the same moment."""
    if (version := _schema(connection)) > SCHEMA:
        message = f"storage.path: {path} was written by a newer version (schema {version}, this one knows {SCHEMA})"
        raise ConfigError([message])
    _enter_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")  # a record that was told as settled survives a power cut
    if version < SCHEMA:
        with _Transaction(connection):
            for statements in _MIGRATIONS[_schema(connection) :]:
                for statement in statements:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA}")


def _enter_wal(connection: sqlite3.Connection) -> None:
    """SQLite waits for nobody while it changes the mode: two that do so at once would wait for each other."""
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
    return Key(**values)
