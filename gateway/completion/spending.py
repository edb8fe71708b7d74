"""Pure: the one money rule: how many tokens of an answer are paid for by what its lease has reserved.

A price in US dollars per million tokens is the same number in micro-dollars per token. `extend` is the lease's own
arithmetic: it reserves more of the key's money, as far as there is any.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

MICRO = Decimal(1_000_000)  # micro-dollars in a dollar

# Tokens that are reserved at a time once the first estimate is used up. The number is small, because what one answer
# reserves another answer of the same key cannot spend. Asking once in 32 tokens costs nothing that can be measured.
SLICE_TOKENS = 32


def microusd(tokens: int, usd_per_mtok: Decimal | None) -> int:
    """The cost of tokens in micro-dollars, rounded up; 0 without a price."""
    return ceil_microusd(tokens * (usd_per_mtok or Decimal(0)))


def ceil_microusd(amount: Decimal) -> int:
    """An amount of micro-dollars, rounded up to a whole one."""
    return int(amount.to_integral_value(ROUND_CEILING))


@dataclass(slots=True)
class Spending:
    """The money of one answer, in micro-dollars.

    `reserved`: what the lease holds for it. `prompt`: what all prompts of the request cost, those of lost hedges
    included. `usd_per_mtok`: the price of the answer's tokens, None or 0 if they cost nothing. `extend(amount)`
    reserves more, as far as there is, and returns what is reserved then.
    """

    reserved: int
    prompt: int
    usd_per_mtok: Decimal | None
    extend: Callable[[int], int]

    def paid_tokens(self, wanted: int) -> int | None:
        """How many tokens are paid for: at least `wanted` if the key has the money; None: any number."""
        if not self.usd_per_mtok:
            return None
        if self._affordable() < wanted:
            missing = self.prompt + microusd(wanted + SLICE_TOKENS, self.usd_per_mtok) - self.reserved
            self.reserved = self.extend(missing)
        return self._affordable()

    def covers(self, tokens: int) -> bool:
        """Whether an answer of this many tokens is paid for, after reserving what was missing."""
        paid = self.paid_tokens(tokens)
        return paid is None or tokens <= paid

    def _affordable(self) -> int:
        assert self.usd_per_mtok
        return max(int((self.reserved - self.prompt) / self.usd_per_mtok), 0)
