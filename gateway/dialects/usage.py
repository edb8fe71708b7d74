"""Pure: what a completion used and what it cost. Money is Decimal US dollars until it is told."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

_PER_MTOK = Decimal(1_000_000)
BYTES_PER_TOKEN = 4  # the usual rule of thumb for English text in common tokenizers


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts. `estimated`: counted here, because the provider gave none. `told`: the provider's own object."""

    prompt_tokens: int
    completion_tokens: int
    estimated: bool
    told: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """In the shape of the API, with the provider's details if it gave any."""
        if self.told is not None:
            return dict(self.told)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


def measure(told: Mapping[str, Any] | None, prompt_tokens: int, text_events: int, text_bytes: int) -> Usage:
    """The provider's counts if it gave them, else our own count of the prompt and an estimate of what was streamed.

    Providers send a token an event as a rule; those that join several are caught by the length of the text.
    """
    if told is not None:
        return Usage(told["prompt_tokens"], told["completion_tokens"], estimated=False, told=told)
    completion = max(text_events, -(-text_bytes // BYTES_PER_TOKEN))
    return Usage(prompt_tokens, completion, estimated=True)


def estimate_prompt_tokens(body: Mapping[str, Any]) -> int:
    """Tokens of the messages, by the length of their text. Images and other parts are not counted."""
    return -(-sum(_text_bytes(message) for message in body.get("messages") or ()) // BYTES_PER_TOKEN)


def cost_usd(usage: Usage, input_usd_per_mtok: Decimal | None, output_usd_per_mtok: Decimal | None) -> Decimal | None:
    """What the tokens cost; None without a price."""
    if input_usd_per_mtok is None and output_usd_per_mtok is None:
        return None
    return (
        usage.prompt_tokens * (input_usd_per_mtok or Decimal(0))
        + usage.completion_tokens * (output_usd_per_mtok or Decimal(0))
    ) / _PER_MTOK


def _text_bytes(message: Any) -> int:
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        return len(content.encode("utf-8", "surrogatepass"))
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts if isinstance(text, str))
    return 0
