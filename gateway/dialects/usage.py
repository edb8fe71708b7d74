"""Pure: how many tokens an answer used."""

from collections.abc import Mapping
from typing import Any, NamedTuple

TEXT_BYTES_PER_TOKEN = 4  # the usual rule of thumb for English text in common tokenizers


class Usage(NamedTuple):
    """Token counts. `estimated`: by the gateway, since the upstream gave none. `reported`: the upstream's object."""

    prompt_tokens: int
    completion_tokens: int
    estimated: bool
    reported: Mapping[str, Any] | None = None

    @property
    def total_tokens(self) -> int:
        """The tokens of the prompt and of the answer."""
        return self.prompt_tokens + self.completion_tokens

    def as_json(self) -> dict[str, Any]:
        """The upstream's own object with all its details, else the estimate under the names of chat completions."""
        if self.reported is not None:
            return dict(self.reported)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


def text_tokens(text_bytes: int) -> int:
    """How many tokens a text of `text_bytes` bytes has, as its length suggests; rounded up."""
    return -(-text_bytes // TEXT_BYTES_PER_TOKEN)


def estimate(prompt_tokens: int, text_events: int, text_bytes: int) -> Usage:
    """The gateway's own estimate of the tokens of a prompt and its answer.

    As a rule an upstream sends one token in one event; where it joins several, the length of the text tells.
    """
    return Usage(prompt_tokens, max(text_events, text_tokens(text_bytes)), estimated=True)
