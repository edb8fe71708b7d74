"""Pure: Anthropic's messages, and the counting of their tokens, as a simulated provider gives them.

In: a script and the facts of a request. Out: JSON and frames. The events of a streamed answer, joined, give the whole
message. The events around a block come in one piece with its first token, or with the first token of the next block.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from gateway.simulate.limit import named_limit
from gateway.simulate.script import Script
from gateway.simulate.sse_style import Json, SseStyle
from gateway.simulate.steps import Facts
from gateway.simulate.words import (
    answer_digest,
    argument_fragments,
    count_text_tokens,
    reasoning_tokens,
    text_tokens,
    tool_inputs,
)

SIGNATURE = "c2ltdWxhdGVk"  # of the thoughts
_MARK = "\0"  # stands for the token in a template event

_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class MessagesSimulation:
    """The dialect of messages, as the simulated provider speaks it."""

    path = "/v1/messages"

    def facts(self, body: Mapping[str, Any], *, keep_alive: bool, chunked: bool) -> Facts:
        """The facts of a request that a plan needs; fields of a wrong type count as absent."""
        return _facts(body, stream=body.get("stream") is True, keep_alive=keep_alive, chunked=chunked)

    def answer(self, script: Script, facts: Facts) -> "MessageAnswer":
        """The answer to a request, as the script describes it."""
        return MessageAnswer(script, facts)

    def error_document(self, status: int) -> bytes:
        """An error in Anthropic's shape."""
        return orjson.dumps(_error(status))


class CountTokensSimulation:
    """The counting of tokens, as the simulated provider does it."""

    path = "/v1/messages/count_tokens"

    def facts(self, body: Mapping[str, Any], *, keep_alive: bool, chunked: bool) -> Facts:
        """The facts of a request, whose answer is never streamed."""
        return _facts(body, stream=False, keep_alive=keep_alive, chunked=chunked)

    def answer(self, script: Script, facts: Facts) -> "CountAnswer":
        """The answer to a request."""
        return CountAnswer(facts)

    def error_document(self, status: int) -> bytes:
        """An error in Anthropic's shape."""
        return orjson.dumps(_error(status))


MESSAGES = MessagesSimulation()
COUNT_TOKENS = CountTokensSimulation()


class MessageAnswer:
    """One message: thoughts if the script asks for them, and then a text or the uses of tools."""

    __slots__ = ("_facts", "_first", "_script", "_style")

    def __init__(self, script: Script, facts: Facts) -> None:
        self._script = script
        self._facts = facts
        self._style = SseStyle(script)
        self._first = 1 if script.reasoning_tokens else 0  # the index of the block behind the thoughts

    def opening(self) -> Iterator[bytes]:
        """The beginning of the message and of a block that is no content yet, and a ping."""
        message = self._envelope()
        if self._script.usage in ("auto", "always", "null_everywhere"):
            message["usage"] = None if self._script.usage == "null_everywhere" else self._usage(1)
        yield self._event("message_start", message={**message, "content": [], "stop_reason": None})
        if self._script.reasoning_tokens:
            yield self._block_start(0, {"type": "thinking", "thinking": "", "signature": ""})
        elif not self._script.tool_calls:
            yield self._block_start(0, {"type": "text", "text": ""})
        yield self._event("ping")

    def reasoning(self) -> Iterator[bytes]:
        """The frames of the thoughts, one for each token."""
        return self._deltas(0, "thinking_delta", "thinking", reasoning_tokens(self._script))

    def content(self) -> Iterator[bytes]:
        """The frames of the text, one for each token, or of the uses of tools, one for each fragment."""
        before = self._thoughts_end() if self._first else b""
        if self._script.tool_calls:
            yield from self._tools(before)
            return
        if self._first:
            before += self._block_start(1, {"type": "text", "text": ""})
        for frame in self._deltas(self._first, "text_delta", "text", text_tokens(self._script)):
            yield before + frame
            before = b""

    def closing(self) -> Iterator[bytes]:
        """The frames behind the last token, as far as the script asks for them."""
        script = self._script
        if script.tool_calls:
            yield self._block_stop(self._first + script.tool_calls - 1)
        elif self._first and not count_text_tokens(script):
            yield self._thoughts_end()
        else:
            yield self._block_stop(self._first)
        if script.finish:
            told: Json = {"delta": {"stop_reason": self._stop_reason(), "stop_sequence": None}}
            if script.usage != "never":
                told["usage"] = None if script.usage == "null_everywhere" else self._usage(self.count_tokens())
            yield self._event("message_delta", **told)
        if script.done:
            yield self._event("message_stop")

    def error(self) -> bytes:
        """The frame of an error in the stream."""
        return self._style.encode(_error(500), "error")

    def count_tokens(self) -> int:
        """How many deltas with a token the whole answer has, thoughts included."""
        script = self._script
        if not script.tool_calls:
            return script.reasoning_tokens + count_text_tokens(script)
        return script.reasoning_tokens + sum(1 + len(argument_fragments(given)) for given in tool_inputs(script))

    def document(self) -> bytes:
        """The whole message."""
        script, content = self._script, list[Json]()
        if script.reasoning_tokens:
            thoughts = "".join(reasoning_tokens(script))
            content.append({"type": "thinking", "thinking": thoughts, "signature": SIGNATURE})
        if script.tool_calls:
            content += _tool_uses(script)
        else:
            content.append({"type": "text", "text": "".join(text_tokens(script))})
        message: Json = {**self._envelope(), "content": content, "stop_reason": self._stop_reason()}
        if script.usage != "never":
            message["usage"] = self._usage(self.count_tokens())
        return orjson.dumps(message)

    def _envelope(self) -> Json:
        message: Json = {
            "id": f"msg_sim_{answer_digest(self._script, self._facts)}",
            "type": "message",
            "role": "assistant",
            "model": self._facts.model,
            "stop_sequence": None,
        }
        return {name: value for name, value in message.items() if name not in self._script.omit}

    def _stop_reason(self) -> str:
        if self._facts.is_cut:
            return "max_tokens"
        return "tool_use" if self._script.tool_calls else "end_turn"

    def _usage(self, output_tokens: int) -> Json:
        """The usage so far: every delta counts as a token, and so do four bytes of the prompt."""
        cache = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
        return {"input_tokens": _prompt_tokens(self._facts), **cache, "output_tokens": output_tokens}

    def _thoughts_end(self) -> bytes:
        delta = {"type": "signature_delta", "signature": SIGNATURE}
        return self._event("content_block_delta", index=0, delta=delta) + self._block_stop(0)

    def _tools(self, before: bytes) -> Iterator[bytes]:
        for index, use in enumerate(_tool_uses(self._script), self._first):
            start = before + self._block_start(index, {**use, "input": {}})
            empty = self._event(
                "content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": ""}
            )
            yield start + empty
            yield from self._deltas(index, "input_json_delta", "partial_json", iter(argument_fragments(use["input"])))
            before = self._block_stop(index)

    def _deltas(self, index: int, kind: str, member: str, tokens: Iterator[str]) -> Iterator[bytes]:
        template = self._event("content_block_delta", index=index, delta={"type": kind, member: _MARK})
        before, _, after = template.rpartition(orjson.dumps(_MARK))
        for token in tokens:
            yield before + orjson.dumps(token) + after

    def _block_start(self, index: int, block: Json) -> bytes:
        return self._event("content_block_start", index=index, content_block=block)

    def _block_stop(self, index: int) -> bytes:
        return self._event("content_block_stop", index=index)

    def _event(self, kind: str, **members: Any) -> bytes:
        payload: Json = {"type": kind, **members}
        if "index" in self._script.omit:
            payload.pop("index", None)
        if self._script.error_null:
            payload["error"] = None
        return self._style.encode(payload, kind)


class CountAnswer:
    """The count of a prompt's tokens, which comes at once."""

    __slots__ = ("_facts",)

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def opening(self) -> Iterator[bytes]:
        """No frames: a count is no stream."""
        return iter(())

    def reasoning(self) -> Iterator[bytes]:
        """No frames: a count is no stream."""
        return iter(())

    def content(self) -> Iterator[bytes]:
        """No frames: a count is no stream."""
        return iter(())

    def closing(self) -> Iterator[bytes]:
        """No frames: a count is no stream."""
        return iter(())

    def error(self) -> bytes:
        """The JSON of an error: a count is no stream."""
        return orjson.dumps(_error(500))

    def count_tokens(self) -> int:
        """None: no model writes anything."""
        return 0

    def document(self) -> bytes:
        """The count."""
        return orjson.dumps({"input_tokens": _prompt_tokens(self._facts)})


def _facts(body: Mapping[str, Any], *, stream: bool, keep_alive: bool, chunked: bool) -> Facts:
    model = body.get("model")
    return Facts(
        model=model if isinstance(model, str) else "sim",
        stream=stream,
        prompt=orjson.dumps([body.get("system", ""), body.get("messages", []), body.get("tools", [])]),
        keep_alive=keep_alive,
        chunked=chunked,
        max_tokens=named_limit(body, "max_tokens"),
    )


def _prompt_tokens(facts: Facts) -> int:
    return max(1, len(facts.prompt) // 4)


def _tool_uses(script: Script) -> list[Json]:
    """The blocks of all uses of tools."""
    return [
        {"type": "tool_use", "id": f"toolu_sim_{script.seed}_{n}", "name": "lookup", "input": given}
        for n, given in enumerate(tool_inputs(script))
    ]


def _error(status: int) -> Json:
    kind = _ERRORS.get(status, "invalid_request_error" if 400 <= status < 500 else "api_error")
    message = f"The simulated provider failed with status {status}, as it was told."
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_sim"}
