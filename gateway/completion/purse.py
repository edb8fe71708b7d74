"""Pure: how many tokens the money that a stream has reserved is enough for.

A price in US dollars per million tokens is the same number in micro-dollars per token.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

# Reserved at a time once the estimate is used up. Small, since another stream of the key may be cut for want of what
# this one will not use; asking once in 32 tokens costs nothing that shows.
SLICE_TOKENS = 32


def microusd(tokens: int, usd_per_mtok: Decimal | None) -> int:
    """What tokens cost, rounded up to the micro-dollar."""
    return ceil_microusd(tokens * (usd_per_mtok or Decimal(0)))


def ceil_microusd(amount: Decimal) -> int:
    return int(amount.to_integral_value(ROUND_CEILING))


@dataclass(slots=True)
class Purse:
    """The money of one answer. `extend` reserves more, as far as there is, and gives what is reserved then."""

    reserved: int
    prompt: int
    usd_per_mtok: Decimal | None  # of the tokens of the answer
    extend: Callable[[int], int]

    def tokens(self, wanted: int) -> int | None:
        """How many tokens of the answer are paid for, at least `wanted` if the money is there; None: any number."""
        if not self.usd_per_mtok:
            return None
        if self._affordable() < wanted:
            missing = self.prompt + microusd(wanted + SLICE_TOKENS, self.usd_per_mtok) - self.reserved
            self.reserved = self.extend(missing)
        return self._affordable()

    def _affordable(self) -> int:
        assert self.usd_per_mtok
        return max(int((self.reserved - self.prompt) / self.usd_per_mtok), 0)
