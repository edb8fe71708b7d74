"""Pure: the answer as SSE frames, in the dialect that the script asks for.

In: a script and the facts of a request. Out: the bytes of one frame after another, without HTTP framing.
With a default script every frame is one compact line as CONTRACT.md section 4 demands.
"""

from collections.abc import Iterator

import orjson

from . import answer
from .answer import Json
from .script import Script
from .steps import Facts

BOM = b"\xef\xbb\xbf"
_MARK = "\0"  # stands for the token in a template


class Frames:
    """Builds the frames of one answer; what all text tokens share is encoded once."""

    __slots__ = ("_event_line", "_facts", "_field", "_line_end", "_script", "_top")

    def __init__(self, script: Script, facts: Facts) -> None:
        self._script = script
        self._facts = facts
        self._line_end = script.line_end.encode()
        self._field = b"data: " if script.space else b"data:"
        self._event_line = b"event: message" + self._line_end if script.event_names else b""
        self._top: Json = {
            "id": answer.completion_id(script, facts),
            "object": "chat.completion.chunk",
            "created": answer.CREATED,
            "model": facts.model,
        }
        for name in script.omit:
            self._top.pop(name, None)

    def role(self) -> bytes:
        delta = {"content": ""} if "role" in self._script.omit else {"role": "assistant", "content": ""}
        return self._chunk(delta)

    def reasoning(self) -> Iterator[bytes]:
        return self._text("reasoning_content", answer.reasoning_tokens(self._script))

    def content(self) -> Iterator[bytes]:
        if not self._script.tool_calls:
            return self._text("content", answer.text_tokens(self._script))
        return (self._chunk({"tool_calls": [delta]}) for delta in answer.tool_deltas(self._script))

    def tail(self) -> Iterator[bytes]:
        """What follows the last token: finish, usage and `[DONE]`, as far as they are wanted."""
        if self._script.finish:
            yield self._chunk({}, answer.finish_reason(self._script))
        if self._wants_usage_event():
            yield self._encode({**self._top, "choices": [], "usage": answer.usage(self._script, self._facts)})
        if self._script.done:
            yield self._frame(b"[DONE]")

    def comment(self) -> bytes:
        return b": ping" + self._line_end * 2

    def error(self) -> bytes:
        return self._encode(answer.error(500))

    def _wants_usage_event(self) -> bool:
        wish = self._script.usage
        return wish in ("always", "null_everywhere") or (wish == "auto" and self._facts.include_usage)

    def _text(self, member: str, tokens: Iterator[str]) -> Iterator[bytes]:
        template = self._chunk({member: _MARK})
        # The last one: a model's name may hold the mark too, but stands before the choices.
        before, _, after = template.rpartition(orjson.dumps(_MARK))
        dumps = orjson.dumps
        for token in tokens:
            yield before + dumps(token) + after

    def _chunk(self, delta: Json, finish_reason: str | None = None) -> bytes:
        script = self._script
        choice: Json = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        if "index" in script.omit:
            del choice["index"]
        if finish_reason and script.finish_in_delta:
            delta["finish_reason"] = choice.pop("finish_reason")
        elif finish_reason is None and "finish_reason" in script.omit:
            del choice["finish_reason"]
        chunk: Json = {**self._top, "choices": [choice]}
        if script.usage == "null_everywhere":
            chunk["usage"] = None
        elif finish_reason and script.usage == "on_finish":
            chunk["usage"] = answer.usage(script, self._facts)
        if script.error_null:
            chunk["error"] = None
        return self._encode(chunk)

    def _encode(self, payload: Json) -> bytes:
        return self._frame(orjson.dumps(payload, option=orjson.OPT_INDENT_2 if self._script.pretty else 0))

    def _frame(self, payload: bytes) -> bytes:
        lines = (self._field + line + self._line_end for line in payload.split(b"\n"))
        return self._event_line + b"".join(lines) + self._line_end
