"""Requests for messages, and a gateway in front of providers that speak them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .completions import PROMPT
from .configuration import KEYS, ORDERED, Served, configuration
from .gateway import LocalGateway

MODEL = "anthropic/claude-x"
PAIR = "claude-pair"  # two upstreams serve it


def message_body(simulate: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """A request for a message; the provider behaves as `simulate` says."""
    turn = {"role": "user", "content": PROMPT}
    told = {} if simulate is None else {"simulate": dict(simulate)}
    return {"model": MODEL, "max_tokens": 1000, "messages": [turn], **told, **fields}


def ask_message(simulate: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """A request as keyword arguments of an SDK; the provider behaves as `simulate` says."""
    return {**message_body(**fields), "extra_body": {"simulate": dict(simulate)}}


def speaking(served: Served, *dialects: str, sections: str = ORDERED) -> str:
    """A configuration of upstreams that speak these dialects alone."""
    words = ", ".join(f'"{dialect}"' for dialect in dialects)
    return re.sub("^dialects = .*$", f"dialects = [{words}]", configuration(served, sections), flags=re.MULTILINE)


def messages_gateway(logs: Path, served: Served, sections: str = ORDERED) -> LocalGateway:
    """A gateway whose upstreams speak chat and messages."""
    return LocalGateway(logs, speaking(served, "chat", "messages", sections=sections), KEYS)
