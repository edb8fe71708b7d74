"""Pure: chat completions as one real provider gives them: who is refused, and the answer with the provider's quirks.

In: a likeness, and a request. Out: a refusal in the provider's words, or an answer as a plan plays it.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs

import orjson

from gateway.simulate.chat import CHAT
from gateway.simulate.likeness.draft import draft
from gateway.simulate.likeness.likeness import ENDPOINT, Likeness, PlayedRefusal
from gateway.simulate.script import Script
from gateway.simulate.sse_style import Json, SseStyle
from gateway.simulate.steps import Facts

WRONG_KEY = "wrong"  # a key that begins like this is refused, so that a configuration can be tried with one


class LikeChat:
    """The dialect of chat completions, as one real provider speaks it."""

    def __init__(self, likeness: Likeness) -> None:
        self._likeness = likeness
        self.path = likeness.base + ENDPOINT

    def refusal(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> PlayedRefusal | None:
        """The provider's refusal of a request for its path, query, key or fields; None if they are right."""
        likeness = self._likeness
        known = likeness.knows(method, path) and all(name in parse_qs(query) for name in likeness.query)
        if not known:
            return likeness.unknown_path
        if not self._has_key(headers):
            return likeness.wrong_key or self._refusal(401)
        return self._refused_field(body) if likeness.refuses and method == "POST" else None

    def models(self) -> bytes:
        """The list of models."""
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": "sim"} for name in self._likeness.models]
        return orjson.dumps({"object": "list", "data": listed})

    # SimulatedDialect

    def facts(self, body: Mapping[str, Any], *, keep_alive: bool, chunked: bool) -> Facts:
        """The facts of a request that a plan needs."""
        return CHAT.facts(body, keep_alive=keep_alive, chunked=chunked)

    def answer(self, script: Script, facts: Facts) -> "LikeAnswer":
        """The answer to a request, as the script describes it, with the quirks of the provider."""
        return LikeAnswer(self._likeness, script, facts)

    def error_document(self, status: int) -> bytes:
        """An error with this status in the provider's words, as far as they are known, else in its shape."""
        return self._refusal(status).encode()

    def _refusal(self, status: int) -> PlayedRefusal:
        message = f"The simulated provider failed with status {status}, as it was told."
        words = self._likeness.words.get(status)
        return PlayedRefusal(status, self._likeness.shape(status, message) if words is None else words)

    def _refused_field(self, content: bytes) -> PlayedRefusal | None:
        """The provider's refusal of a field in a body; None for one that it takes, and for one that is no JSON."""
        try:
            body = orjson.loads(content)
        except orjson.JSONDecodeError:
            return None
        model = str(body.get("model", "")) if isinstance(body, dict) else ""
        for rule in self._likeness.refuses:
            if rule.field in body and model.startswith(rule.models):
                return PlayedRefusal(rule.status, rule.body)
        return None

    def _has_key(self, headers: Mapping[str, str]) -> bool:
        """Whether the key stands where the provider looks for it."""
        if not self._likeness.keys:
            return True
        for name, scheme in self._likeness.keys:
            value = headers.get(name, "")
            key = value.removeprefix(scheme)
            if value.startswith(scheme) and key and not key.startswith(WRONG_KEY):
                return True
        return False


class LikeAnswer:
    """One completion with the quirks of a provider."""

    __slots__ = ("_broken", "_draft", "_script", "_style")

    def __init__(self, likeness: Likeness, script: Script, facts: Facts) -> None:
        self._script = script
        self._style = SseStyle(script)
        self._draft = draft(script, facts)
        self._broken = likeness.broken
        for quirk in likeness.quirks:
            quirk(self._draft)

    def opening(self) -> Iterator[bytes]:
        """The events before the first token."""
        return map(self._frame, self._draft.opening)

    def reasoning(self) -> Iterator[bytes]:
        """The frames of the reasoning, one for each token."""
        return map(self._frame, self._draft.reasoning)

    def content(self) -> Iterator[bytes]:
        """The frames of the text or of the tool calls."""
        return map(self._frame, self._draft.content)

    def closing(self) -> Iterator[bytes]:
        """The frames behind the last token, as far as script and request ask for them."""
        yield from map(self._frame, self._draft.closing)
        if self._script.done:
            yield self._style.frame(b"[DONE]")

    def error(self) -> bytes:
        """The frame of an error in the stream, as the provider tells it."""
        return self._frame(self._broken)

    def count_tokens(self) -> int:
        """How many frames reasoning and content have."""
        return len(self._draft.reasoning) + len(self._draft.content)

    def document(self) -> bytes:
        """The whole `chat.completion` object."""
        return b"\n" * self._draft.blank_lines + _json(self._draft.document)

    def _frame(self, payload: Json) -> bytes:
        return self._style.frame(_json(payload, pretty=self._script.pretty))


def _json(payload: Json, *, pretty: bool = False) -> bytes:
    """JSON as Python's own module writes it: with NaN and -Infinity, as real providers send them."""
    separators = None if pretty else (",", ":")
    return json.dumps(payload, ensure_ascii=False, separators=separators, indent=2 if pretty else None).encode()
