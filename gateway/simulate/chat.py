"""Pure: chat completions as a simulated provider gives them.

In: a script and the facts of a request. Out: JSON and frames. The events of a streamed answer, joined, give the text
of the whole answer.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from gateway.simulate.choices import MARK, ChoicesAnswer, error_object
from gateway.simulate.limit import named_limit
from gateway.simulate.script import Script
from gateway.simulate.sse_style import Json
from gateway.simulate.steps import Facts
from gateway.simulate.words import argument_fragments, count_text_tokens, reasoning_tokens, text_tokens, tool_inputs


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
            max_tokens=named_limit(body, "max_completion_tokens", "max_tokens"),
        )

    def answer(self, script: Script, facts: Facts) -> "ChatAnswer":
        """The answer to a request, as the script describes it."""
        return ChatAnswer(script, facts)

    def error_document(self, status: int) -> bytes:
        """An error in OpenAI's shape."""
        return orjson.dumps(error_object(status))


CHAT = ChatSimulation()


class ChatAnswer(ChoicesAnswer):
    """One chat completion."""

    __slots__ = ()

    event_object = "chat.completion.chunk"
    whole_object = "chat.completion"
    id_begins = "chatcmpl-sim-"

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

    def _finishes(self) -> Iterator[bytes]:
        yield self._event({}, self._finish_reason())

    def _count_content(self) -> int:
        script = self._script
        return len(tool_deltas(script)) if script.tool_calls else count_text_tokens(script)

    def _whole_choices(self) -> list[Json]:
        script = self._script
        text = None if script.tool_calls else "".join(text_tokens(script))
        message: Json = {"role": "assistant", "content": text}
        if script.reasoning_tokens:
            message["reasoning_content"] = "".join(reasoning_tokens(script))
        if script.tool_calls:
            message["tool_calls"] = _tool_calls(script)
        return [{"index": 0, "message": message, "finish_reason": self._finish_reason()}]

    def _finish_reason(self) -> str:
        if self._facts.is_cut:
            return "length"
        return "tool_calls" if self._script.tool_calls else "stop"

    def _text(self, member: str, tokens: Iterator[str]) -> Iterator[bytes]:
        return self._texts(self._event({member: MARK}), tokens)

    def _event(self, delta: Json, finish_reason: str | None = None) -> bytes:
        script = self._script
        choice: Json = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        if finish_reason and script.finish_in_delta:
            delta["finish_reason"] = choice.pop("finish_reason")
        elif finish_reason is None and "finish_reason" in script.omit:
            del choice["finish_reason"]
        return self._event_with(choice, finish_reason)


def tool_deltas(script: Script) -> list[Json]:
    """The deltas of all tool calls: for each its name, then its arguments in fragments."""
    deltas = []
    for index, (call, given) in enumerate(zip(_tool_calls(script), tool_inputs(script), strict=True)):
        function = {"name": call["function"]["name"], "arguments": ""}
        deltas.append({"index": index, "id": call["id"], "type": "function", "function": function})
        for fragment in argument_fragments(given):
            delta: Json = {"index": index, "function": {"arguments": fragment}}
            deltas.append(delta | {"type": None} if script.null_types else delta)
    return deltas


def _tool_calls(script: Script) -> list[Json]:
    calls: list[Json] = []
    for n, given in enumerate(tool_inputs(script)):
        function = {"name": "lookup", "arguments": orjson.dumps(given).decode()}
        calls.append({"id": f"call_sim_{script.seed}_{n}", "type": "function", "function": function})
    return calls
