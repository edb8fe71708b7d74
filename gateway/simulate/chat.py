"""Pure: chat completions as a simulated provider gives them.

In: a script and the facts of a request. Out: JSON and frames. The events of a streamed answer, joined, give the text
of the whole answer.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import orjson

from gateway.simulate.script import Script
from gateway.simulate.sse_style import Json, SseStyle
from gateway.simulate.steps import Facts
from gateway.simulate.words import answer_digest, count_text_tokens, reasoning_tokens, text_tokens, words

CREATED = 1_750_000_000  # a fixed date, so that a seed gives equal bytes on any day
FRAGMENT_CHARS = 8  # characters of a tool call's arguments in one delta
_MARK = "\0"  # stands for the token in a template event

_ERRORS = {
    401: ("authentication_error", "invalid_api_key"),
    402: ("insufficient_quota", "insufficient_quota"),
    403: ("permission_error", "insufficient_permissions"),
    404: ("not_found_error", "model_not_found"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}


class ChatSimulation:
    """The dialect of chat completions, as the simulated provider speaks it."""

    path = "/v1/chat/completions"

    def facts(self, body: Mapping[str, Any], *, keep_alive: bool, chunked: bool) -> Facts:
        """The facts of a request that a plan needs; fields of a wrong type count as absent."""
        options, model = body.get("stream_options"), body.get("model")
        return Facts(
            model=model if isinstance(model, str) else "sim",
            stream=body.get("stream") is True,
            include_usage=isinstance(options, dict) and options.get("include_usage") is True,
            prompt=orjson.dumps(body.get("messages", [])),
            keep_alive=keep_alive,
            chunked=chunked,
        )

    def answer(self, script: Script, facts: Facts) -> "ChatAnswer":
        """The answer to a request, as the script describes it."""
        return ChatAnswer(script, facts)

    def error_document(self, status: int) -> bytes:
        """An error in OpenAI's shape."""
        return orjson.dumps(_error(status))


CHAT = ChatSimulation()


class ChatAnswer:
    """One completion. The JSON around its text tokens is encoded once for all of them."""

    __slots__ = ("_facts", "_script", "_style", "_top")

    def __init__(self, script: Script, facts: Facts) -> None:
        self._script = script
        self._facts = facts
        self._style = SseStyle(script)
        self._top: Json = {
            "id": self._id(),
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": facts.model,
        }
        for name in script.omit:
            self._top.pop(name, None)

    def opening(self) -> Iterator[bytes]:
        """The event with the role."""
        delta = {"content": ""} if "role" in self._script.omit else {"role": "assistant", "content": ""}
        yield self._event(delta)

    def reasoning(self) -> Iterator[bytes]:
        """The frames of the reasoning, one for each token."""
        return self._text("reasoning_content", reasoning_tokens(self._script))

    def content(self) -> Iterator[bytes]:
        """The frames of the text, one for each token, or of the tool calls, one for each fragment."""
        if not self._script.tool_calls:
            return self._text("content", text_tokens(self._script))
        return (self._event({"tool_calls": [delta]}) for delta in tool_deltas(self._script))

    def closing(self) -> Iterator[bytes]:
        """The frames of finish, usage and `[DONE]`, as far as script and request ask for them."""
        if self._script.finish:
            yield self._event({}, self._finish_reason())
        if self._wants_usage_event():
            yield self._style.encode({**self._top, "choices": [], "usage": self._usage()})
        if self._script.done:
            yield self._style.frame(b"[DONE]")

    def error(self) -> bytes:
        """The frame of an error in the stream."""
        return self._style.encode(_error(500))

    def count_tokens(self) -> int:
        """How many deltas with a token the whole answer has, reasoning included."""
        script = self._script
        content = len(tool_deltas(script)) if script.tool_calls else count_text_tokens(script)
        return script.reasoning_tokens + content

    def document(self) -> bytes:
        """The whole `chat.completion` object."""
        script = self._script
        text = None if script.tool_calls else "".join(text_tokens(script))
        message: Json = {"role": "assistant", "content": text}
        if script.reasoning_tokens:
            message["reasoning_content"] = "".join(reasoning_tokens(script))
        if script.tool_calls:
            message["tool_calls"] = _tool_calls(script)
        completion: Json = {
            "id": self._id(),
            "object": "chat.completion",
            "created": CREATED,
            "model": self._facts.model,
            "choices": [{"index": 0, "message": message, "finish_reason": self._finish_reason()}],
        }
        if script.usage != "never":
            completion["usage"] = self._usage()
        return orjson.dumps(completion)

    def _id(self) -> str:
        return f"chatcmpl-sim-{answer_digest(self._script, self._facts)}"

    def _finish_reason(self) -> str:
        return "tool_calls" if self._script.tool_calls else "stop"

    def _usage(self) -> Json:
        """The usage object: every delta counts as a token, and so do four bytes of the prompt."""
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

    def _text(self, member: str, tokens: Iterator[str]) -> Iterator[bytes]:
        template = self._event({member: _MARK})
        # Split at the last mark: the model's name may hold a mark too, but stands before the choices.
        before, _, after = template.rpartition(orjson.dumps(_MARK))
        dumps = orjson.dumps
        for token in tokens:
            yield before + dumps(token) + after

    def _event(self, delta: Json, finish_reason: str | None = None) -> bytes:
        script = self._script
        choice: Json = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        if "index" in script.omit:
            del choice["index"]
        if finish_reason and script.finish_in_delta:
            delta["finish_reason"] = choice.pop("finish_reason")
        elif finish_reason is None and "finish_reason" in script.omit:
            del choice["finish_reason"]
        payload: Json = {**self._top, "choices": [choice]}
        if script.usage == "null_everywhere":
            payload["usage"] = None
        elif finish_reason and script.usage == "on_finish":
            payload["usage"] = self._usage()
        if script.error_null:
            payload["error"] = None
        return self._style.encode(payload)


def tool_deltas(script: Script) -> list[Json]:
    """The deltas of all tool calls: for each its name, then its arguments in fragments."""
    deltas = []
    for index, call in enumerate(_tool_calls(script)):
        function = {"name": call["function"]["name"], "arguments": ""}
        deltas.append({"index": index, "id": call["id"], "type": "function", "function": function})
        arguments = call["function"]["arguments"]
        for start in range(0, len(arguments), FRAGMENT_CHARS):
            delta: Json = {
                "index": index,
                "function": {"arguments": arguments[start : start + FRAGMENT_CHARS]},
            }
            deltas.append(delta | {"type": None} if script.null_types else delta)
    return deltas


def _tool_calls(script: Script) -> list[Json]:
    names = words(script.seed)
    calls: list[Json] = []
    for n in range(script.tool_calls):
        query = "".join(islice(names, 3)).strip()
        function = {"name": "lookup", "arguments": orjson.dumps({"query": query, "limit": n + 1}).decode()}
        calls.append({"id": f"call_sim_{script.seed}_{n}", "type": "function", "function": function})
    return calls


def _error(status: int) -> Json:
    kind, code = _ERRORS.get(status, ("server_error", "server_error"))
    if 400 <= status < 500 and status not in _ERRORS:
        kind, code = "invalid_request_error", "invalid_request"
    message = f"The simulated provider failed with status {status}, as it was told."
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
