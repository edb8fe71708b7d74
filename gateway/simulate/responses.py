"""Pure: responses as a simulated provider gives them: messages, thoughts and calls of functions, each as an item.

In: a script and the facts of a request. Out: JSON and frames, numbered from 0. The events of a streamed response
bring the same items as the whole response, which the terminal event repeats.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from gateway.simulate.chat import CHAT, tool_deltas
from gateway.simulate.limit import named_limit
from gateway.simulate.script import Script
from gateway.simulate.sse_style import Json, SseStyle
from gateway.simulate.steps import Facts
from gateway.simulate.words import answer_digest, count_text_tokens, reasoning_tokens, text_tokens

ITEM_ADDED = "response.output_item.added"
CREATED = 1_750_000_000  # a fixed date, so that a seed gives equal bytes on any day, but for the ids
# The members of every response that say nothing here.
_USUAL: Json = {
    "background": False,
    "instructions": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
}


class ResponsesSimulation:
    """The dialect of responses, as the simulated provider speaks it."""

    path = "/v1/responses"

    def facts(self, body: Mapping[str, Any], *, keep_alive: bool, chunked: bool) -> Facts:
        """The facts of a request that a plan needs; fields of a wrong type count as absent."""
        model = body.get("model")
        return Facts(
            model=model if isinstance(model, str) else "sim",
            stream=body.get("stream") is True,
            include_usage=True,
            prompt=orjson.dumps([body.get("instructions"), body.get("input", [])]),
            keep_alive=keep_alive,
            chunked=chunked,
            max_tokens=named_limit(body, "max_output_tokens"),
        )

    def answer(self, script: Script, facts: Facts) -> "SimulatedResponse":
        """The answer to a request, as the script describes it."""
        return SimulatedResponse(script, facts)

    def error_document(self, status: int) -> bytes:
        """An error in OpenAI's shape."""
        return CHAT.error_document(status)


RESPONSES = ResponsesSimulation()


class SimulatedResponse:
    """One response. The events have to be asked for in their order, since they are numbered as they are made."""

    __slots__ = ("_facts", "_items", "_number", "_script", "_style", "_waiting")

    def __init__(self, script: Script, facts: Facts) -> None:
        self._script = script
        self._facts = facts
        self._style = SseStyle(script)
        self._number = 0
        self._items: list[Json] = []  # those that are complete
        self._waiting = b""  # events that go out with the next token

    @property
    def id(self) -> str:
        """The id of the response."""
        return self._id("resp")

    def opening(self) -> Iterator[bytes]:
        """The events that announce the response."""
        self._number, self._items, self._waiting = 0, [], b""
        for name in ("created", "in_progress"):
            yield self._event(f"response.{name}", response=self._response("in_progress"))

    def reasoning(self) -> Iterator[bytes]:
        """The events of the thoughts, a summary with one delta for each token."""
        if not self._script.reasoning_tokens:
            return
        item: Json = {"id": self._id("rs"), "type": "reasoning", "summary": []}
        place: Json = {"item_id": item["id"], "output_index": 0, "summary_index": 0}
        part = {"type": "summary_text", "text": ""}
        self._waiting = self._event(ITEM_ADDED, output_index=0, item=item)
        self._waiting += self._event("response.reasoning_summary_part.added", **place, part=part)
        yield from self._deltas("response.reasoning_summary_text.delta", place, reasoning_tokens(self._script))

    def content(self) -> Iterator[bytes]:
        """The events of the text, one for each token, or of the calls, one for each fragment of their arguments."""
        self._waiting = self._end_of_reasoning()
        yield from self._calls() if self._script.tool_calls else self._message()

    def closing(self) -> Iterator[bytes]:
        """The ends of the last item, and the terminal event, as far as the script asks for them."""
        if self._script.finish:
            calls = self._script.tool_calls
            yield self._waiting + (self._end_of_call(calls - 1) if calls else self._end_of_message())
        if self._script.done:
            yield self._event(f"response.{self._end}", response=self._response(self._end))

    def error(self) -> bytes:
        """The event of an error, and the end of a response that failed. No other event follows."""
        error, number = _error(), self._number
        flat = {name: error[name] for name in ("code", "message", "param")}
        failed = {**self._response("failed"), "error": {"code": error["code"], "message": error["message"]}}
        events = self._event("error", **flat) + self._event("response.failed", response=failed)
        self._number = number
        return events

    def count_tokens(self) -> int:
        """How many deltas with a token the whole answer has, reasoning included."""
        script = self._script
        content = sum(bool(text) for _, text in self._fragments()) if script.tool_calls else count_text_tokens(script)
        return script.reasoning_tokens + content

    def document(self) -> bytes:
        """The whole `response` object."""
        script = self._script
        self._items = []
        if script.reasoning_tokens:
            self._items.append(self._reasoning_item())
        self._items += [self._call_item(n) for n in range(script.tool_calls)] or [self._message_item()]
        return orjson.dumps(self._response(self._end))

    @property
    def _end(self) -> str:
        """The status of a response that ends as it should."""
        return "incomplete" if self._facts.is_cut else "completed"

    # --- items

    def _message(self) -> Iterator[bytes]:
        item, index = {**self._message_item(), "status": "in_progress", "content": []}, len(self._items)
        place: Json = {"item_id": item["id"], "output_index": index, "content_index": 0}
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        self._waiting += self._event(ITEM_ADDED, output_index=index, item=item)
        self._waiting += self._event("response.content_part.added", **place, part=part)
        yield from self._deltas("response.output_text.delta", place, text_tokens(self._script), logprobs=[])

    def _calls(self) -> Iterator[bytes]:
        first = len(self._items)
        for number, text in self._fragments():
            place: Json = {"item_id": self._id("fc", number), "output_index": first + number}
            if text:
                yield from self._deltas("response.function_call_arguments.delta", place, iter([text]))
                continue
            if number:
                self._waiting += self._end_of_call(number - 1)
            item = {**self._call_item(number), "status": "in_progress", "arguments": ""}
            self._waiting += self._event(ITEM_ADDED, output_index=first + number, item=item)

    def _end_of_reasoning(self) -> bytes:
        if not self._script.reasoning_tokens:
            return b""
        item = self._reasoning_item()
        (part,) = item["summary"]
        place: Json = {"item_id": item["id"], "output_index": 0, "summary_index": 0}
        ends = self._event("response.reasoning_summary_text.done", **place, text=part["text"])
        ends += self._event("response.reasoning_summary_part.done", **place, part=part)
        return ends + self._end_of_item(item)

    def _end_of_message(self) -> bytes:
        item = self._message_item()
        (part,) = item["content"]
        place: Json = {"item_id": item["id"], "output_index": len(self._items), "content_index": 0}
        ends = self._event("response.output_text.done", **place, text=part["text"], logprobs=[])
        ends += self._event("response.content_part.done", **place, part=part)
        return ends + self._end_of_item(item)

    def _end_of_call(self, number: int) -> bytes:
        item = self._call_item(number)
        place: Json = {"item_id": item["id"], "output_index": len(self._items)}
        arguments = {"name": item["name"], "arguments": item["arguments"]}
        return self._event("response.function_call_arguments.done", **place, **arguments) + self._end_of_item(item)

    def _end_of_item(self, item: Json) -> bytes:
        end = self._event("response.output_item.done", output_index=len(self._items), item=item)
        self._items.append(item)
        return end

    def _reasoning_item(self) -> Json:
        part = {"type": "summary_text", "text": "".join(reasoning_tokens(self._script))}
        return {"id": self._id("rs"), "type": "reasoning", "summary": [part]}

    def _message_item(self) -> Json:
        text = "".join(text_tokens(self._script))
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        item = {"id": self._id("msg"), "type": "message", "role": "assistant", "status": self._end}
        return {**item, "content": [part]}

    def _call_item(self, number: int) -> Json:
        item = {"id": self._id("fc", number), "type": "function_call", "status": "completed"}
        begin, *rest = [entry for entry in tool_deltas(self._script) if entry["index"] == number]
        arguments = "".join(entry["function"]["arguments"] for entry in rest)
        return {**item, "call_id": begin["id"], "name": begin["function"]["name"], "arguments": arguments}

    def _fragments(self) -> list[tuple[int, str]]:
        """The fragments of the arguments of all calls, with the numbers of the calls; an empty one begins each."""
        return [(entry["index"], entry["function"]["arguments"]) for entry in tool_deltas(self._script)]

    # --- events

    def _deltas(self, kind: str, place: Json, tokens: Iterator[str], **more: Any) -> Iterator[bytes]:
        """One event for each token; the events that wait come with the first one."""
        for token in tokens:
            before, self._waiting = self._waiting, b""
            yield before + self._event(kind, **place, delta=token, **more)

    def _event(self, kind: str, **members: Any) -> bytes:
        payload = {"type": kind, "sequence_number": self._number, **members}
        self._number += 1
        for name in self._script.omit:
            payload.pop(name, None)
        if self._script.error_null:
            payload["error"] = None
        return self._style.encode(payload, kind)

    def _response(self, status: str) -> Json:
        script, is_over = self._script, status == self._end
        response: Json = {
            "id": self.id,
            "object": "response",
            "created_at": CREATED,
            "status": status,
            "error": None,
            "model": self._facts.model,
            "output": list(self._items),
            **_USUAL,
            "max_output_tokens": self._facts.max_tokens,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "usage": self._usage() if is_over and script.usage != "never" else None,
        }
        for name in script.omit:
            response.pop(name, None)
        return response

    def _usage(self) -> Json:
        """The usage object: every delta counts as a token, and so do four bytes of the prompt."""
        prompt, completion = max(1, len(self._facts.prompt) // 4), self.count_tokens()
        return {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": completion,
            "output_tokens_details": {"reasoning_tokens": self._script.reasoning_tokens},
            "total_tokens": prompt + completion,
        }

    def _id(self, kind: str, number: int = 0) -> str:
        digest = answer_digest(self._script, self._facts)
        return f"{kind}_sim_{digest}_{number}" if number else f"{kind}_sim_{digest}"


def _error() -> Json:
    error: Json = orjson.loads(CHAT.error_document(500))["error"]
    return error
