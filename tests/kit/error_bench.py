"""A gateway in front of scripted upstreams that play the error answers of a data file."""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .completions import UPSTREAM_KEY
from .configuration import KEYS, ORDERED, configuration
from .gateway import LocalGateway
from .scripted_upstream import Script, ScriptedUpstream, Step, good, response

# The marks of the data files, and what upstreams say in their place.
SHOWN = {
    "{key}": UPSTREAM_KEY,
    "{masked}": f"{UPSTREAM_KEY[:5]}***{UPSTREAM_KEY[-4:]}",
    "{dotted}": f"{UPSTREAM_KEY[:8]}...",
    "{tail}": UPSTREAM_KEY[-4:],
    "{part}": UPSTREAM_KEY[:20],
    "{url}": quote(f"{UPSTREAM_KEY} x"),
    "{basic}": base64.b64encode(f":{UPSTREAM_KEY}".encode()).decode(),
    "{base64}": base64.b64encode(UPSTREAM_KEY.encode()).decode(),
    "{upper}": UPSTREAM_KEY.upper(),
    "{hex}": UPSTREAM_KEY.encode().hex(),
    "{entities}": "".join(f"&#{byte};" for byte in UPSTREAM_KEY.encode()),
    "{basic_of_a_user}": base64.b64encode(f"user:{UPSTREAM_KEY}".encode()).decode(),
    "{header_in_base64}": base64.b64encode(f'{{"Authorization": "Bearer {UPSTREAM_KEY}"}}'.encode()).decode(),
    "{bytes}": json.dumps(list(UPSTREAM_KEY.encode())),
    "{letters}": json.dumps(list(UPSTREAM_KEY)),
    "{indexed}": json.dumps(dict(enumerate(UPSTREAM_KEY))),
    "{capitals}": f"{UPSTREAM_KEY[:5]}***{UPSTREAM_KEY[-4:]}".upper(),
    "{base64_in_a_url}": quote(base64.b64encode(f"???>>>{UPSTREAM_KEY}".encode()).decode(), safe=""),
    "{entities_twice}": "".join(f"&amp;#{byte};" for byte in UPSTREAM_KEY.encode()),
    "{spaced}": " ".join(UPSTREAM_KEY[at : at + 5] for at in range(0, len(UPSTREAM_KEY), 5)),
}


class ErrorBench:
    """A gateway in front of two scripted upstreams."""

    def __init__(self, logs: Path) -> None:
        self.first, self.second = ScriptedUpstream("first"), ScriptedUpstream("second")
        served = [(self.first, ["one", "two"]), (self.second, ["two"])]
        self.gateway = LocalGateway(logs, configuration(served, ORDERED), KEYS)

    def play(self, case: dict[str, Any]) -> None:
        """Let the upstreams play a case."""
        self.first.play(script(case["first"]))
        self.second.play(script(case["second"]) if "second" in case else good)

    def counts(self) -> list[int]:
        """How many requests each upstream has got."""
        return [len(self.first.requests), len(self.second.requests)]

    def close(self) -> None:
        self.gateway.close()
        self.first.close()
        self.second.close()


def shown(text: str) -> str:
    """The text with what stands for its marks."""
    for mark, secret in SHOWN.items():
        text = text.replace(mark, secret)
    return text


def script(answer: dict[str, Any]) -> Script:
    """The script of an answer: `status`, `body` (or `json`), `type`, and any header field."""
    fields = {name: shown(str(value)) for name, value in answer.get("fields", {}).items()}
    content = answer["body"] if "body" in answer else json.dumps(answer["json"])
    sent = response(answer["status"], shown(content).encode(), answer.get("type", "application/json"), **fields)
    refuses = answer.get("refuses")

    def play(request: bytes) -> list[Step]:
        return good(request) if refuses and refuses.encode() not in request else [sent]

    return play
