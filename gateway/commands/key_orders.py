"""Shell: orders for API keys: what was typed is checked and carried out in the books."""

import datetime
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from gateway import clock
from gateway.access import secret as key_secret
from gateway.access.books import Books, Key
from gateway.access.storage import open_books
from gateway.config import Config
from gateway.errors import ConfigError, LedgerError
from gateway.routing.wildcard import STAR, Wildcard

MAX_NAME_CHARACTERS = 100
MAX_USD = Decimal(1_000_000_000)
MAX_LIMIT = 1_000_000
_MICRO = 1_000_000
_KEY_ID = re.compile("key_[0-9a-f]{12}")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class KeyOrder:
    """The options of `keys create`, as typed."""

    name: str
    models: str | None = None
    balance_usd: str | None = None
    rpm: int | None = None
    max_streams: int | None = None
    expires: str | None = None
    admin: bool = False
    publish: bool = False


def create(config: Config, order: KeyOrder) -> tuple[str, Key]:
    """A new key in the books: its secret, which is stored nowhere, and the key. Raises `ConfigError`."""
    now = int(clock.wall_time())
    secret = key_secret.make(secrets.choice)
    key = Key(
        id=f"key_{secrets.token_hex(6)}",
        digest=key_secret.digest(secret),
        prefix=secret[: key_secret.SHOWN],
        name=_name(order.name),
        models=_models(order.models, config),
        rpm=_limit("--rpm", order.rpm),
        max_streams=_limit("--max-streams", order.max_streams),
        balance_microusd=None if order.balance_usd is None else _microusd("--balance-usd", order.balance_usd),
        created_at=now,
        expires_at=None if order.expires is None else _expiry(order.expires, now),
        admin=order.admin,
        publish=order.publish,
    )
    with _opened(config) as books:
        books.create(key)
    return secret, key


def all_keys(config: Config) -> list[Key]:
    """The keys in the books, oldest first. Raises `ConfigError`."""
    with _opened(config) as books:
        return books.all_keys()


def revoke(config: Config, key_id: str) -> None:
    """Refuse a key from now on. Raises `ConfigError` if there is no such key, or it is revoked already."""
    _check_id(key_id)
    with _opened(config) as books:
        if not books.revoke(key_id, int(clock.wall_time())):
            known = any(key.id == key_id for key in books.all_keys())
            raise ConfigError([f"{key_id}: {'is revoked already' if known else 'there is no such key'}"])


def credit(config: Config, key_id: str, usd: str) -> int:
    """Add US dollars to a balance; returns the new balance in micro-dollars. Raises `ConfigError`."""
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


@contextmanager
def _opened(config: Config) -> Iterator[Books]:
    """The books for the length of a command. Raises `ConfigError`."""
    books = open_books(config.storage)
    try:
        yield books
    except LedgerError as error:
        raise ConfigError([error.fault]) from None
    finally:
        books.close()


def _check_id(text: str) -> None:
    if not _KEY_ID.fullmatch(text):  # the text is not repeated, because it may be a secret
        raise ConfigError(["ID: must be the id of a key, such as key_0123456789ab; `rivergate keys list` shows them"])


def _name(text: str) -> str:
    if not 0 < len(text) <= MAX_NAME_CHARACTERS or not text.isprintable() or not text.strip():
        raise ConfigError([f"--name: must have 1 to {MAX_NAME_CHARACTERS} printable characters"])
    return text


def _models(text: str | None, config: Config) -> tuple[str, ...]:
    if text is None:
        return ()
    models = [model for upstream in config.upstreams for model in upstream.models]
    known = list(dict.fromkeys(name for model in models for name in (model.id, *model.aliases)))
    found_later = any(upstream.discover == "on" for upstream in config.upstreams)
    wildcards = [Wildcard.parse(name) for name in known if STAR in name]
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known and not found_later and all(wildcard.rest(name) is None for wildcard in wildcards):
            raise ConfigError([f"--models: {name!r} is not configured; known models: {', '.join(known) or 'none'}"])
    return tuple(dict.fromkeys(names))


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
    """The end of a key in Unix seconds, from a time (`2027-01-31T12:00:00Z`, `2027-01-31`) or a duration (`90d`)."""
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
