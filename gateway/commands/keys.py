"""Wiring: `rivergate keys`: API keys in the ledger, on the command line."""

import datetime
import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from gateway import clock
from gateway.access import secret as key_secret
from gateway.access.books import Books, Key
from gateway.access.sqlite_books import SqliteBooks
from gateway.config import Config
from gateway.errors import ConfigError, LedgerError

MAX_NAME_CHARACTERS = 100
MAX_USD = Decimal(1_000_000_000)
MAX_LIMIT = 1_000_000
_MICRO = 1_000_000
_KEY_ID = re.compile("key_[0-9a-f]{12}")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class KeyOrder:
    """What `keys create` was asked for, as typed."""

    name: str
    models: str | None = None
    balance_usd: str | None = None
    rpm: int | None = None
    max_streams: int | None = None
    expires: str | None = None


def create(config: Config, wish: KeyOrder) -> tuple[str, Key]:
    """A new key: its secret, which is told only here, and what is stored of it. Raises `ConfigError`."""
    now = int(clock.wall_time())
    secret = key_secret.make(secrets.choice)
    key = Key(
        id=f"key_{secrets.token_hex(6)}",
        digest=key_secret.digest(secret),
        prefix=secret[: key_secret.SHOWN],
        name=_name(wish.name),
        models=_models(wish.models, config),
        rpm=_limit("--rpm", wish.rpm),
        max_streams=_limit("--max-streams", wish.max_streams),
        balance_microusd=None if wish.balance_usd is None else _microusd("--balance-usd", wish.balance_usd),
        created_at=now,
        expires_at=None if wish.expires is None else _expiry(wish.expires, now),
    )
    with _opened(config) as books:
        books.create(key)
    return secret, key


def listed(config: Config) -> list[Key]:
    with _opened(config) as books:
        return books.all_keys()


def revoke(config: Config, key_id: str) -> None:
    """Raises `ConfigError` if there is no such key, or it is revoked already."""
    _check_id(key_id)
    with _opened(config) as books:
        if not books.revoke(key_id, int(clock.wall_time())):
            known = any(key.id == key_id for key in books.all_keys())
            raise ConfigError([f"{key_id}: {'is revoked already' if known else 'there is no such key'}"])


def credit(config: Config, key_id: str, usd: str) -> int:
    """Add to a balance; the new one in micro-dollars. Raises `ConfigError`."""
    _check_id(key_id)
    amount = _microusd("USD", usd)
    if amount == 0:
        raise ConfigError(["USD: must be above 0"])
    with _opened(config) as books:
        balance = books.credit(key_id, amount)
        if balance is None:
            known = any(key.id == key_id for key in books.all_keys())
            raise ConfigError([f"{key_id}: {'has no balance: it may spend' if known else 'there is no such key'}"])
    return balance


def as_json(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "models": list(key.models),
        "rpm": key.rpm,
        "max_streams": key.max_streams,
        "balance_usd": None if key.balance_microusd is None else key.balance_microusd / _MICRO,
        "created_at": moment(key.created_at),
        "expires_at": moment(key.expires_at),
        "revoked_at": moment(key.revoked_at),
    }


def table(keys: list[Key]) -> str:
    """For people; one line a key."""
    if not keys:
        return "no keys: `rivergate keys create --name NAME` makes one"
    heads = ("id", "name", "key", "models", "rpm", "streams", "balance USD", "expires", "state")
    rows = [heads, *(_row(key) for key in keys)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def in_json(value: Any) -> str:
    return json.dumps(value, indent=2)


def moment(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()


def _row(key: Key) -> tuple[str, ...]:
    expired = key.expires_at is not None and key.expires_at <= clock.wall_time()
    return (
        key.id,
        key.name,
        f"{key.prefix}...",
        ",".join(key.models) or "all",
        str(key.rpm or "-"),
        str(key.max_streams or "-"),
        "-" if key.balance_microusd is None else f"{Decimal(key.balance_microusd) / _MICRO:.6f}",
        (moment(key.expires_at) or "never")[:16],
        "revoked" if key.revoked_at is not None else "expired" if expired else "active",
    )


@contextmanager
def _opened(config: Config) -> Iterator[Books]:
    """The books for the length of a command. Raises `ConfigError`."""
    books = SqliteBooks.open(Path(config.storage.path))
    try:
        yield books
    except LedgerError as error:
        raise ConfigError([error.fault]) from None
    finally:
        books.close()


def _check_id(text: str) -> None:
    if not _KEY_ID.fullmatch(text):  # not repeated: it may be a secret
        raise ConfigError(["ID: must be the id of a key, such as key_0123456789ab; `rivergate keys list` shows them"])


def _name(text: str) -> str:
    if not 0 < len(text) <= MAX_NAME_CHARACTERS or not text.isprintable() or not text.strip():
        raise ConfigError([f"--name: must have 1 to {MAX_NAME_CHARACTERS} printable characters"])
    return text


def _models(text: str | None, config: Config) -> tuple[str, ...]:
    if text is None:
        return ()
    known = list(dict.fromkeys(model.id for upstream in config.upstreams for model in upstream.models))
    asked = [name.strip() for name in text.split(",")]
    for name in asked:
        if name not in known:
            raise ConfigError([f"--models: {name!r} is not configured; known models: {', '.join(known) or 'none'}"])
    return tuple(dict.fromkeys(asked))


def _limit(option: str, value: int | None) -> int | None:
    if value is not None and not 1 <= value <= MAX_LIMIT:
        raise ConfigError([f"{option}: must be from 1 to {MAX_LIMIT}"])
    return value


def _microusd(option: str, text: str) -> int:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ConfigError([f"{option}: must be an amount of US dollars, such as 12.50"]) from None
    if not amount.is_finite() or amount < 0 or amount > MAX_USD or amount * _MICRO != int(amount * _MICRO):
        raise ConfigError([f"{option}: must be from 0 to {MAX_USD} US dollars, with at most 6 decimals"])
    return int(amount * _MICRO)


def _expiry(text: str, now: int) -> int:
    """A moment (`2027-01-31`, `2027-01-31T12:00:00Z`) or a time from now (`90d`, `12h`)."""
    try:
        if text[-1:] in _UNITS and text[:-1].isdigit() and len(text) < 12:
            at = now + int(text[:-1]) * _UNITS[text[-1]]
        else:
            parsed = datetime.datetime.fromisoformat(text)
            at = int((parsed if parsed.tzinfo else parsed.replace(tzinfo=datetime.UTC)).timestamp())
    except (ValueError, OverflowError):
        raise ConfigError(
            ["--expires: must be a time such as 2027-01-31, 2027-01-31T12:00:00Z, 90d or 12h"]
        ) from None
    if not now < at < 1 << 40:
        raise ConfigError(["--expires: must lie in the future"])
    return at
