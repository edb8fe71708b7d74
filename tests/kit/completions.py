"""Requests for completions, and the texts with which the simulated provider answers."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

from gateway.simulate.words import words

# Words that must never stand in a log; every request, answer or configuration of the tests holds some of them.
PROMPT = "What does the heron whisper to the weir?"
CLIENT_KEY = "sk-client-0a1b2c3d4e5f"
UPSTREAM_KEY = "sk-upstream-5f4e3d2c1b0a"

MODEL = "openai/gpt-4o"
QUICK: dict[str, Any] = {"ttft_ms": 5, "gap_ms": 1, "tokens": 8}
ENDLESS = {"ttft_ms": 5, "gap_ms": 10, "tokens": 100_000}


def text(tokens: int) -> str:
    """The text of an answer of this many tokens from a provider with the default seed."""
    return "".join(islice(words(0), tokens))


def body(simulate: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """A request; the provider behaves as `simulate` says."""
    message = {"role": "user", "content": PROMPT}
    request_fields = {} if simulate is None else {"simulate": dict(simulate)}
    return {"model": MODEL, "messages": [message], **request_fields, **fields}


def ask(simulate: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """A request as keyword arguments of an SDK; the provider behaves as `simulate` says."""
    return {**body(**fields), "extra_body": {"simulate": dict(simulate)}}
