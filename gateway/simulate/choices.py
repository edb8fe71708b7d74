"""Pure: what a simulated provider's chat completions and text completions have in common.

In: a script and the facts of a request. Out: JSON and frames. The events of a streamed answer, joined, give the text
of the whole answer.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import orjson

from gateway.simulate.script import Script
from gateway.simulate.sse_style import Json, SseStyle
from gateway.simulate.steps import Facts
from gateway.simulate.words import answer_digest

CREATED = 1_750_000_000  # a fixed date, so that a seed gives equal bytes on any day, but for the ids
MARK = "\0"  # stands for the token in a template event

_ERRORS = {
    401: ("authentication_error", "invalid_api_key"),
    402: ("insufficient_quota", "insufficient_quota"),
    403: ("permission_error", "insufficient_permissions"),
    404: ("not_found_error", "model_not_found"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}


class ChoicesAnswer(ABC):
    """One completion. The JSON around its text tokens is encoded once for all of them.

    A subclass is the answer of a dialect. `event_object` and `whole_object`: the member `object` of its events and of
    its whole answer; `id_begins`: how its ids begin.
    """

    event_object: ClassVar[str]
    whole_object: ClassVar[str]
    id_begins: ClassVar[str]

    __slots__ = ("_facts", "_script", "_style", "_top")

    def __init__(self, script: Script, facts: Facts) -> None:
        self._script = script
        self._facts = facts
        self._style = SseStyle(script)
        self._top: Json = {
            "id": self._id(),
            "object": self.event_object,
            "created": CREATED,
            "model": facts.model,
        }
        for name in script.omit:
            self._top.pop(name, None)

    def closing(self) -> Iterator[bytes]:
        """The frames of finish, usage and `[DONE]`, as far as script and request ask for them."""
        if self._script.finish:
            yield from self._finishes()
        if self._wants_usage_event():
            yield self._style.encode({**self._top, "choices": [], "usage": self._usage()})
        if self._script.done:
            yield self._style.frame(b"[DONE]")

    def error(self) -> bytes:
        """The frame of an error in the stream."""
        return self._style.encode(error_object(500))

    def count_tokens(self) -> int:
        """How many events with a token the whole answer has, reasoning included."""
        return self._script.reasoning_tokens + self._count_content()

    def document(self) -> bytes:
        """The whole answer."""
        completion: Json = {
            "id": self._id(),
            "object": self.whole_object,
            "created": CREATED,
            "model": self._facts.model,
            "choices": self._whole_choices(),
        }
        if self._script.usage != "never":
            completion["usage"] = self._usage()
        return orjson.dumps(completion)

    # --- what a dialect knows

    @abstractmethod
    def opening(self) -> Iterator[bytes]:
        """The frames before the first token."""

    @abstractmethod
    def reasoning(self) -> Iterator[bytes]:
        """The frames of the reasoning, one for each token."""

    @abstractmethod
    def content(self) -> Iterator[bytes]:
        """The frames of the content, one for each token."""

    @abstractmethod
    def _finishes(self) -> Iterator[bytes]:
        """The frames that finish the choices."""

    @abstractmethod
    def _count_content(self) -> int:
        """How many frames `content` gives."""

    @abstractmethod
    def _whole_choices(self) -> list[Json]:
        """The choices of the whole answer."""

    # --- inside

    def _id(self) -> str:
        return f"{self.id_begins}{answer_digest(self._script, self._facts)}"

    def _usage(self) -> Json:
        """The usage object: every event counts as a token, and so do four bytes of the prompt."""
        prompt, completion = max(1, len(self._facts.prompt) // 4), self.count_tokens()
        counts: Json = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }
        if self._script.reasoning_tokens:
            counts["completion_tokens_details"] = {"reasoning_tokens": self._script.reasoning_tokens}
        return counts

    def _wants_usage_event(self) -> bool:
        usage = self._script.usage
        return usage in ("always", "null_everywhere") or (usage == "auto" and self._facts.include_usage)

    def _texts(self, template: bytes, tokens: Iterator[str]) -> Iterator[bytes]:
        """The frames of tokens, each of which stands in the template in the place of the mark."""
        # Split at the last mark: the model's name may hold a mark too, but stands before the choices.
        before, _, after = template.rpartition(orjson.dumps(MARK))
        dumps = orjson.dumps
        for token in tokens:
            yield before + dumps(token) + after

    def _event_with(self, choice: Json, finish_reason: str | None) -> bytes:
        """The frame of an event with this choice."""
        script = self._script
        if "index" in script.omit:
            del choice["index"]
        payload: Json = {**self._top, "choices": [choice]}
        if script.usage == "null_everywhere":
            payload["usage"] = None
        elif finish_reason and script.usage == "on_finish":
            payload["usage"] = self._usage()
        if script.error_null:
            payload["error"] = None
        return self._style.encode(payload)


def error_object(status: int) -> Json:
    """An error with this status, in OpenAI's shape."""
    kind, code = _ERRORS.get(status, ("server_error", "server_error"))
    if 400 <= status < 500 and status not in _ERRORS:
        kind, code = "invalid_request_error", "invalid_request"
    message = f"The simulated provider failed with status {status}, as it was told."
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
