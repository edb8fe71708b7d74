"""Keys and records for the tests of the ledger, and the ledger as an auditor reads it."""

import itertools
import secrets
import sqlite3
from pathlib import Path
from typing import Any

from gateway.access import secret as key_secret
from gateway.access.books import Key, UsageRecord

NOW = 1_800_000_000
_numbers = itertools.count()


def new_secret() -> str:
    return key_secret.make(secrets.choice)


def new_key(secret: str | None = None, **fields: Any) -> Key:
    secret = secret or new_secret()
    stored = {"digest": key_secret.digest(secret), "prefix": secret[: key_secret.SHOWN], "name": "somebody"}
    unlimited = {"models": (), "rpm": None, "max_streams": None, "balance_microusd": None, "expires_at": None}
    return Key(**{"id": f"key_{secrets.token_hex(6)}", **stored, **unlimited, "created_at": NOW, **fields})


def record(key_id: str | None = None, cost: int = 10, **fields: Any) -> UsageRecord:
    """The record of a completion with this cost."""
    who = {"id": f"st_{next(_numbers)}", "request_id": "req_1", "key_id": key_id, "model": "m", "upstream": "alpha"}
    how = {"ending": "completed", "prompt_tokens": 3, "completion_tokens": 5, "estimated": False}
    took = {"ttft_ms": 12.5, "duration_ms": 80.0, "ended_at": NOW}
    return UsageRecord(**{**who, **how, "cost_microusd": cost, "hedge_cost_microusd": 0, **took, **fields})


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    """The rows that another connection reads."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def balances(path: Path) -> dict[str, int | None]:
    return dict(rows(path, "SELECT id, balance_microusd FROM keys"))


def records(path: Path) -> list[str]:
    return [str(entry) for (entry,) in rows(path, "SELECT id FROM usage ORDER BY rowid")]
