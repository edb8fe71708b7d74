"""Books that live in this process: the second implementation, which proves that the protocol is one."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from gateway.access.books import SUM_NAMES, GroupBy, Key, UsageGroup, UsageRecord
from gateway.errors import LedgerError


@dataclass
class Store:
    """The stored keys and records, shared by all handles that are open on them."""

    keys: dict[str, Key] = field(default_factory=dict)
    usage: dict[str, UsageRecord] = field(default_factory=dict)
    writes: list[int] = field(default_factory=list)  # the handle of each write
    handles: "itertools.count[int]" = field(default_factory=itertools.count)


class MemoryBooks:
    """One open handle on a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._handle = next(store.handles)

    def all_keys(self) -> list[Key]:
        return sorted(self._store.keys.values(), key=lambda key: key.created_at)

    def version(self) -> int:
        return sum(handle != self._handle for handle in self._store.writes)

    def create(self, key: Key) -> None:
        if key.id in self._store.keys or any(key.digest == other.digest for other in self._store.keys.values()):
            raise _refusal("there is such a key")
        self._store.keys[key.id] = key
        self._on_write()

    def revoke(self, key_id: str, now: int) -> bool:
        key = self._store.keys.get(key_id)
        if key is None or key.revoked_at is not None:
            return False
        self._store.keys[key_id] = replace(key, revoked_at=now)
        self._on_write()
        return True

    def credit(self, key_id: str, microusd: int) -> int | None:
        key = self._store.keys.get(key_id)
        if key is None or key.balance_microusd is None:
            return None
        balance = key.balance_microusd + microusd
        self._store.keys[key_id] = replace(key, balance_microusd=balance)
        self._on_write()
        return balance

    def settle(self, batch: Sequence[UsageRecord]) -> Mapping[str, int]:
        for usage in batch:
            _check(usage)
        balances: dict[str, int] = {}
        for usage in batch:
            cost = 0 if usage.id in self._store.usage else usage.total_microusd
            self._store.usage.setdefault(usage.id, usage)
            if usage.key_id is not None and (balance := self.credit(usage.key_id, -cost)) is not None:
                balances[usage.key_id] = balance
        self._on_write()
        return balances

    def report(self, key_id: str | None, start: int, end: int, group_by: GroupBy) -> list[dict[str, Any]]:
        sums: dict[str, list[int]] = {}
        for usage in self._store.usage.values():
            if usage.key_id == key_id and start <= usage.ended_at < end:
                day = datetime.fromtimestamp(usage.ended_at, UTC).date().isoformat()
                row = sums.setdefault(usage.model if group_by == "model" else day, [0] * len(SUM_NAMES))
                for column, value in enumerate(_summands(usage)):
                    row[column] += value
        return [{group_by: group, **dict(zip(SUM_NAMES, sums[group], strict=True))} for group in sorted(sums)]

    def totals(self, start: int, end: int, by: Sequence[UsageGroup]) -> list[dict[str, Any]]:
        sums: dict[tuple[str | None, ...], list[int]] = {}
        for usage in self._store.usage.values():
            if start <= usage.ended_at < end:
                row = sums.setdefault(tuple(_group(usage, name) for name in by), [0] * len(SUM_NAMES))
                for column, value in enumerate(_summands(usage)):
                    row[column] += value
        ordered = sorted(sums, key=lambda group: [(value is not None, value) for value in group])
        return [
            {**dict(zip(by, group, strict=True)), **dict(zip(SUM_NAMES, sums[group], strict=True))}
            for group in ordered
        ]

    def check(self) -> None:
        self._on_write()

    def close(self) -> None: ...

    def _on_write(self) -> None:
        self._store.writes.append(self._handle)


def _group(usage: UsageRecord, by: UsageGroup) -> str | None:
    day = datetime.fromtimestamp(usage.ended_at, UTC).date().isoformat()
    return {"key": usage.key_id, "model": usage.model, "upstream": usage.upstream, "day": day}[by]


def _summands(usage: UsageRecord) -> tuple[int, ...]:
    tokens = (usage.prompt_tokens or 0, usage.completion_tokens or 0)
    return (1, *tokens, int(usage.estimated), usage.cost_microusd, usage.hedge_cost_microusd)


def _check(usage: UsageRecord) -> None:
    """Refuse what a store with typed columns refuses."""
    if not isinstance(usage.ending, str):
        raise _refusal("a record without an ending")
    for count in (usage.prompt_tokens, usage.completion_tokens):
        if count is not None and not (isinstance(count, int) and count < 1 << 63):
            raise _refusal(f"a count that does not fit: {count!r}")


def _refusal(reason: str) -> LedgerError:
    return LedgerError(reason, f"storage.path: {reason}")
