"""A gateway with a ledger of its own, keys in it, and what the ledger says of them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

from gateway import config
from gateway.commands import key_orders
from gateway.completion.spending import ceil_microusd
from gateway.dialects.chat.dialect import CHAT
from tests.access.books import rows

from .configuration import KEYS, ORDERED, Served, configuration
from .gateway import LocalGateway
from .http_client import Listening, call
from .waiting import wait_for

# Micro-dollars, at the prices of `configuration`.
TOKEN_COST = 10  # a token of the answer
QUICK_COST = 123  # a QUICK answer as the provider counts it: 17 tokens of the prompt, 8 of the answer
UNPRICED = "without/a-price"  # a model of the last upstream
FREE = "free/of-charge"  # another one, which costs nothing


def prompt_cost(request: Mapping[str, Any]) -> int:
    """What the prompt of a request costs, as the gateway counts its tokens."""
    return ceil_microusd(CHAT.parse(orjson.dumps(request)).estimate_prompt_tokens() * Decimal("2.5"))


@dataclass(frozen=True, slots=True)
class MadeKey:
    id: str
    secret: str

    @property
    def bearer(self) -> str:
        return f"Bearer {self.secret}"


def mistyped(secret: str) -> str:
    """The secret with another character in the midst."""
    return secret[:12] + ("a" if secret[12] != "a" else "b") + secret[13:]


def fetch_json(gateway: Listening, path: str, key: MadeKey) -> Any:
    """What the gateway tells this key at a path."""
    answer = call(gateway, "GET", path, Authorization=key.bearer)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


class Keyring:
    """The configuration of one gateway, and the ledger that it names."""

    def __init__(self, folder: Path, served: Served, sections: str = "") -> None:
        self.path = folder / "keys.db"
        self.file = folder / "keys.toml"
        storage = f'[storage]\npath = "{self.path}"\n'
        unpriced = f'[[upstreams.models]]\nid = "{UNPRICED}"\n[[upstreams.models]]\nid = "{FREE}"\nfree = true\n'
        self.configuration = configuration(served, f"{sections}{ORDERED}{storage}") + unpriced
        self.file.write_text(self.configuration)

    def create(self, name: str = "somebody", **wish: Any) -> MadeKey:
        """A key as `rivergate keys create` makes it."""
        secret, key = key_orders.create(config.load(self.file, KEYS), key_orders.KeyOrder(name, **wish))
        return MadeKey(key.id, secret)

    def revoke(self, key: MadeKey) -> None:
        key_orders.revoke(config.load(self.file, KEYS), key.id)

    def credit(self, key: MadeKey, usd: str) -> None:
        key_orders.credit(config.load(self.file, KEYS), key.id, usd)

    def start(self, logs: Path) -> LocalGateway:
        return LocalGateway(logs, self.configuration, KEYS)

    @contextmanager
    def serving(self, logs: Path) -> Iterator[LocalGateway]:
        """A gateway with this ledger, which holds one key at least, so that the gate is closed."""
        self.create("the first one")
        gateway = self.start(logs)
        try:
            yield gateway
        finally:
            gateway.close()

    def balance(self, key: MadeKey) -> int | None:
        """The balance in micro-dollars, read from the ledger's file."""
        [(balance,)] = rows(self.path, f"SELECT balance_microusd FROM keys WHERE id = '{key.id}'")
        assert balance is None or isinstance(balance, int)
        return balance

    def records(self, key: MadeKey, count: int | None = None) -> list[dict[str, Any]]:
        """A key's usage records, the oldest first; `count`: wait until there are this many."""
        names = ("id", "request_id", "model", "ending", "prompt_tokens", "completion_tokens", "estimated")
        query = f"SELECT {', '.join(names)}, cost_microusd FROM usage WHERE key_id = '{key.id}' ORDER BY rowid"

        def look() -> list[dict[str, Any]] | None:
            found = [dict(zip((*names, "cost"), row, strict=True)) for row in rows(self.path, query)]
            assert count is None or len(found) <= count
            return found if count is None or len(found) == count else None

        return wait_for(look, f"{count} records of {key.id}")

    def spent(self, key: MadeKey) -> int:
        return sum(record["cost"] for record in self.records(key))
