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

    least: int  # what it costs to ask one upstream at all: the prompt, as it is estimated
    wanted: int  # what the prompt and the longest answer that the request allows cost
    most: int = 0  # the same with the densest prompt that its bytes can hold; reserved as far as there is money


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

    def check_price(self, model_id: str, upstream: str, field: str = "model") -> None:
        """Refuse a model of unknown price to a key with a balance. Raises `PermissionDenied`, which names `field`."""
        if self.balance is not None:
            raise PermissionDenied(
                f"the model {model_id!r} has no price at the upstream {upstream}, so a key with a balance may not "
                "use it: the operator has to set input_usd_per_mtok and output_usd_per_mtok, or free = true",
                param=field,
            )

    # --- for the bank

    @property
    def is_full(self) -> bool:
        """Whether the key has as many requests running as it may have."""
        return self.key.max_streams is not None and self.running >= self.key.max_streams

    def count_request(self, now: float) -> float:
        """Count a request against the rate and return 0.0, or count nothing and return the seconds to wait."""
        return self._limit.allow(now) if self._limit is not None else 0.0

    def wait_for_rate(self, now: float) -> float:
        """The seconds until the rate allows a request; 0.0: now."""
        return self._limit.wait(now) if self._limit is not None else 0.0

    def charge_request(self, now: float) -> None:
        """Count a request against the rate, whatever is left of it."""
        if self._limit is not None:
            self._limit.charge(now)

    def lease(self, quote: Quote) -> "AccountLease":
        """Reserve what a request may cost, or all that is left if that is less. Raises `InsufficientQuota`.

        A request that costs nothing, whatever comes of it, needs no money.
        """
        available, most = self.available, max(quote.wanted, quote.most)
        if available is not None and most and (available <= 0 or available < quote.least):
            raise InsufficientQuota(self._shortfall(quote.least, available))
        self.running += 1
        amount = most if available is None else min(most, max(available, 0))
        self.reserved += amount
        return AccountLease(self, amount, quote)

    def _shortfall(self, needed: int, available: int) -> str:
        """Why a request does not fit, with the amounts in US dollars."""
        reserved = f", and requests that run have reserved {_usd(self.reserved)} USD" if self.reserved else ""
        if available <= 0 and not self.reserved:
            below = f": it is {_usd(-available)} USD below zero" if available else ""
            return f"the balance of this API key is used up{below}"
        return (
            f"the balance of this API key does not cover this request: its prompt costs about {_usd(needed)} USD, "
            f"{_usd(available)} USD are left{reserved}"
        )

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

    __slots__ = ("_account", "_is_closed", "_least", "_spare", "reserved")

    def __init__(self, account: Account, reserved: int, quote: Quote) -> None:
        self._account = account
        self._least = quote.least
        self._spare = max(reserved - quote.wanted, 0)  # reserved in case that the prompt is denser than it looks
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
        from_spare = min(self._spare, self._least)
        missing, available = self._least - from_spare, self._account.available
        if self._is_closed or (missing and available is not None and available < missing):
            return False
        self._spare -= from_spare
        self.extend(missing)
        return True

    def close(self) -> None:
        if not self._is_closed:
            # Given back before it is marked: if that fails, another call of `close` tries again.
            self._account.give_back(self.reserved)
            self._is_closed = True


def _usd(microusd: int) -> str:
    """An amount in US dollars, to the millionth; `int` division keeps amounts of any size exact."""
    sign, whole = "-" if microusd < 0 else "", abs(microusd)
    return f"{sign}{whole // 1_000_000}.{whole % 1_000_000:06d}"
