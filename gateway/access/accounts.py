"""Pure: accounts: a key of the books and what it does now.

The invariant: for every key with a balance, what may still be reserved is the balance in the books, less what is
settled and not written yet, less what running requests have reserved.
"""

from dataclasses import dataclass

from gateway.access.books import Key
from gateway.access.limits import Allowance, RequestLimit
from gateway.errors import InsufficientQuota, PermissionDenied


@dataclass(frozen=True, slots=True)
class Quote:
    """What a request may cost, in micro-dollars."""

    least: int  # what it costs to ask one upstream at all: the prompt
    wanted: int  # what the prompt and the longest answer that the request allows cost


class Account:
    """One key, its money in micro-dollars, its rate and its running requests. Only a bank changes it."""

    __slots__ = ("_limit", "balance", "key", "reserved", "running", "unwritten")

    def __init__(self, key: Key, now: float) -> None:
        self.key = key
        self.balance = key.balance_microusd  # as in the books; None: the key may spend any amount
        self.unwritten = 0  # money that is settled and not yet taken off the balance in the books
        self.reserved = 0  # money that running requests have reserved
        self.running = 0  # the number of running requests
        self._limit = RequestLimit(key.rpm, now) if key.rpm is not None else None

    @property
    def available(self) -> int | None:
        """What may still be reserved; None: any amount."""
        return None if self.balance is None else self.balance - self.unwritten - self.reserved

    @property
    def is_limited(self) -> bool:
        """Whether the key has any limit that a bank has to keep."""
        return self.balance is not None or self._limit is not None or self.key.max_streams is not None

    def allowance(self, now: float) -> Allowance | None:
        """The state of the key's rate; None if the key has no rate limit."""
        return self._limit.allowance(now) if self._limit is not None else None

    def check_model(self, names: tuple[str, ...], field: str = "model") -> None:
        """Refuse a model that the key may use by none of its names, the id first.

        Raises `PermissionDenied`, which names the request's `field`.
        """
        if self.key.models and not any(name in self.key.models for name in names):
            raise PermissionDenied(f"this API key may not use the model {names[0][:200]!r}", param=field)

    # --- for the bank

    @property
    def is_full(self) -> bool:
        """Whether the key has as many requests running as it may have."""
        return self.key.max_streams is not None and self.running >= self.key.max_streams

    def count_request(self, now: float) -> float:
        """Count a request against the rate and return 0.0, or count nothing and return the seconds to wait."""
        return self._limit.allow(now) if self._limit is not None else 0.0

    def lease(self, quote: Quote) -> "AccountLease":
        """Reserve what a request may cost, or all that is left if that is less. Raises `InsufficientQuota`."""
        available = self.available
        if available is not None and (available <= 0 or available < quote.least):
            raise InsufficientQuota("the balance of this API key is used up")
        self.running += 1
        amount = quote.wanted if available is None else min(quote.wanted, available)
        self.reserved += amount
        return AccountLease(self, amount, quote.least)

    def reserve_more(self, amount: int) -> int:
        """Reserve up to `amount` more, as far as the money goes; returns what was added."""
        available = self.available
        more = amount if available is None else max(min(amount, available), 0)
        self.reserved += more
        return more

    def give_back(self, amount: int) -> None:
        """Give back the reservation and the place of a request that is over."""
        self.reserved -= amount
        self.running -= 1

    def on_settled(self, cost: int) -> None:
        """Money was spent: nobody can reserve it any more, although the books do not show it yet."""
        if self.balance is not None:
            self.unwritten += cost

    def on_written(self, cost: int) -> None:
        """The books now hold a cost that was settled before; a call of `on_balance` follows."""
        if self.balance is not None:
            self.unwritten = max(self.unwritten - cost, 0)

    def on_balance(self, balance: int) -> None:
        """The books have a new balance."""
        self.balance = balance

    def on_key(self, key: Key, now: float) -> None:
        """The books have a new version of the key."""
        if key.rpm != self.key.rpm:
            self._limit = RequestLimit(key.rpm, now) if key.rpm is not None else None
        self.key, self.balance = key, key.balance_microusd


class AccountLease:
    """What one running request has reserved of an account of this process."""

    __slots__ = ("_account", "_is_closed", "_least", "reserved")

    def __init__(self, account: Account, reserved: int, least: int) -> None:
        self._account = account
        self._least = least
        self._is_closed = False
        self.reserved = reserved

    @property
    def key_id(self) -> str:
        return self._account.key.id

    @property
    def has_balance(self) -> bool:
        return self._account.balance is not None

    def extend(self, amount: int) -> int:
        if not self._is_closed:
            self.reserved += self._account.reserve_more(amount)
        return self.reserved

    def covers_another(self) -> bool:
        available = self._account.available
        if self._is_closed or (available is not None and available < self._least):
            return False
        self.extend(self._least)
        return True

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._account.give_back(self.reserved)
