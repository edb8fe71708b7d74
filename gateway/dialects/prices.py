"""Pure: the prices of a model, and the tokens that have a price of their own: of a cached prompt, and of sounds.

In: the usage of an answer, with the upstream's own object. Out: its exact cost. The invariant: no token is of two
kinds, and no more tokens are special than there are, so that an upstream's nonsense makes no cost negative.
"""

from collections.abc import Mapping
from decimal import Decimal
from operator import mul
from typing import Any, NamedTuple

from gateway.config import ModelSettings
from gateway.dialects.usage import Usage

_PER_MTOK = Decimal(1_000_000)
_PROMPT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_COMPLETION_DETAILS = ("completion_tokens_details", "output_tokens_details")
# Members of the usage itself: Anthropic's and responses', Bedrock's, DeepSeek's, Gemini's.
_CACHE_READ = (
    "cache_read_input_tokens",
    "cacheReadInputTokens",
    "prompt_cache_hit_tokens",
    "cachedContentTokenCount",
)
_CACHE_WRITE = ("cache_creation_input_tokens", "cacheWriteInputTokens")
# Members of the details of the prompt: OpenAI's, and those of gateways that write other providers' counts there.
_CACHE_READ_DETAIL = ("cached_tokens",)
_CACHE_WRITE_DETAIL = ("cache_write_tokens", "cache_creation_tokens")
_AUDIO_DETAIL = ("audio_tokens",)


class SpecialTokens(NamedTuple):
    """How many tokens are of each kind."""

    cached_input: int
    cache_write: int
    audio_input: int
    audio_output: int


class SpecialPrices(NamedTuple):
    """What a token of each kind costs more than a plain one, in US dollars per million; less, if it is negative."""

    cached_input: Decimal
    cache_write: Decimal
    audio_input: Decimal
    audio_output: Decimal

    def surcharge(self, usage: Usage) -> Decimal:
        """What the special tokens cost more than they would as plain ones, in millionths of a US dollar."""
        return sum(map(mul, self, special_tokens(usage)), Decimal(0))


class Prices(NamedTuple):
    """The prices of a model, in US dollars per million tokens. `special`: None if all tokens cost the same."""

    input: Decimal
    output: Decimal
    special: SpecialPrices | None

    def cost_usd(self, usage: Usage) -> Decimal:
        """The cost of the tokens in US dollars."""
        if self.special is not None:
            return self._replace(special=None).cost_usd(usage) + self.special.surcharge(usage) / _PER_MTOK
        return (usage.prompt_tokens * self.input + usage.completion_tokens * self.output) / _PER_MTOK


def prices_of(model: ModelSettings) -> Prices | None:
    """The prices of a model as it is configured; None if it has none."""
    if model.input_usd_per_mtok is None and model.output_usd_per_mtok is None:
        return None
    given, output = model.input_usd_per_mtok or Decimal(0), model.output_usd_per_mtok or Decimal(0)
    own = (
        (model.cached_input_usd_per_mtok, given),
        (model.cache_write_usd_per_mtok, given),
        (model.audio_input_usd_per_mtok, given),
        (model.audio_output_usd_per_mtok, output),
    )
    if all(price is None for price, _ in own):
        return Prices(given, output, None)
    more = (Decimal(0) if price is None else price - plain for price, plain in own)
    return Prices(given, output, SpecialPrices(*more))


def special_tokens(usage: Usage) -> SpecialTokens:
    """The special tokens of an answer, as its upstream tells them; none where the gateway has counted."""
    told = usage.reported or {}
    prompt, completion = _object(told, _PROMPT_DETAILS), _object(told, _COMPLETION_DETAILS)
    left = usage.prompt_tokens
    cached = min(_count(told, _CACHE_READ) or _count(prompt, _CACHE_READ_DETAIL), left)
    left -= cached
    written = min(_count(told, _CACHE_WRITE) or _count(prompt, _CACHE_WRITE_DETAIL), left)
    left -= written
    heard = min(_count(prompt, _AUDIO_DETAIL), left)
    spoken = min(_count(completion, _AUDIO_DETAIL), usage.completion_tokens)
    return SpecialTokens(cached, written, heard, spoken)


def _object(mapping: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
    return next((found for name in names if isinstance(found := mapping.get(name), dict)), {})


def _count(mapping: Mapping[str, Any], names: tuple[str, ...]) -> int:
    counts = (mapping.get(name) for name in names)
    return next((count for count in counts if type(count) is int and count > 0), 0)
