"""Pure: the books: what is stored of API keys and of finished completions, and what every store of them can do.

`SqliteBooks` is the first store. Every other store has to pass `tests/access/test_books.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

GroupBy = Literal["day", "model"]
UsageGroup = Literal["key", "model", "upstream", "day"]
SUM_NAMES = (  # the columns of a report beside its day or its model
    "requests",
    "prompt_tokens",
    "completion_tokens",
    "estimated_requests",
    "cost_microusd",
    "hedge_cost_microusd",
)


@dataclass(frozen=True, slots=True)
class Key:
    """An API key as it is stored. Times are Unix seconds; a limit or an end that is None does not exist."""

    id: str
    digest: bytes  # SHA-256 of the secret, which is stored nowhere
    prefix: str  # the first characters of the secret, by which people tell keys apart
    name: str
    models: tuple[str, ...]  # empty: every model
    rpm: int | None
    max_streams: int | None
    balance_microusd: int | None
    created_at: int
    expires_at: int | None
    revoked_at: int | None = None
    admin: bool = False  # may read the streams of all keys
    publish: bool = False  # may publish events to feeds

    @property
    def rights(self) -> list[str]:
        """What the key may do beside asking for answers."""
        return ["admin"] * self.admin + ["publish"] * self.publish


class UsageRecord(NamedTuple):
    """One completion as it is billed. `key_id` is None for a request in open mode, which no key pays for."""

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

    @property
    def total_microusd(self) -> int:
        """What the record takes off the balance of its key."""
        return self.cost_microusd + self.hedge_cost_microusd


class Books(Protocol):
    """The store of keys and usage records.

    Calls block, so a server makes them in a thread, one at a time, and a command makes them directly. Every call
    raises `LedgerError`, and only that, where the store fails. The invariant: a usage record and what it takes off a
    balance are written in one transaction, and once for each record, however often the record is handed in.
    """

    def all_keys(self) -> list[Key]:
        """Every key, the revoked ones included, oldest first."""

    def version(self) -> int:
        """A number that changes when another process, or another open handle, has written."""

    def create(self, key: Key) -> None:
        """Store a new key."""

    def revoke(self, key_id: str, now: int) -> bool:
        """Refuse a key from `now` on (Unix seconds); returns whether the key existed and was not revoked yet."""

    def credit(self, key_id: str, microusd: int) -> int | None:
        """Add to a balance and return the new balance; None if there is no such key, or the key has no balance."""

    def settle(self, batch: Sequence[UsageRecord]) -> Mapping[str, int]:
        """Write records and take their cost off the balances, all or nothing; returns the balances by key id.

        A record that is in the books already changes nothing, and the balance of its key is still in the result.
        """

    def report(self, key_id: str | None, start: int, end: int, group_by: GroupBy) -> list[dict[str, Any]]:
        """Sums of a key's records that ended from `start` until before `end`, by UTC day or by model.

        A row holds the day or the model under the name of `group_by`, and the columns of `SUM_NAMES`.
        """

    def totals(self, start: int, end: int, by: Sequence[UsageGroup]) -> list[dict[str, Any]]:
        """Sums of all records that ended from `start` until before `end`, for each combination that there is of `by`.

        A row holds its key id (None: in open mode), model, upstream (None: none answered) or UTC day under the names
        in `by`, and the columns of `SUM_NAMES`; the rows are in the order of these values.
        """

    def check(self) -> None:
        """Write something that changes nothing, to see that the store can be written."""

    def close(self) -> None:
        """Let the store go. Idempotent."""
