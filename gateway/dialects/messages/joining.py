"""Pure: joins the events of a streamed message to the whole message that they tell.

In: frames as the reader of the dialect gives them, repaired. Out: the document of an answer that is not streamed. The
invariant: what events hold is kept as JSON, not as values, so that it takes no more memory than the events did.
"""

from collections.abc import Callable
from typing import Any

from gateway.dialects.dialect import AnswerReport
from gateway.dialects.event_joining import AT_ONCE, MEMBERS_OF_STEP, PLAIN, EventJoiner, JoinedAnswer, Steps
from gateway.dialects.messages.shapes import JOINED_EVENT
from gateway.dialects.messages.told_usage import as_told
from gateway.dialects.usage import Usage
from gateway.wire import json_text
from gateway.wire.json_pieces import Elements, Members, Text

MAX_INPUT_BYTES = 1 << 20  # of the input of one tool, which is read in one step: 10 ms
MAX_INPUT_VALUES = 60_000  # JSON values of one input
_WHOLE = frozenset({"signature", "type"})  # strings of a delta that come at once
_INPUT_DELTA = b'"input_json_delta"'
_KIND_BYTES = 512  # of a frame, in which the type of its delta stands


class MessagesJoiner(EventJoiner):
    """Joins the events of one message. Texts are collected in pieces, which are never joined here."""

    __slots__ = ("_blocks", "_inputs", "_message", "_usage")

    grows = JOINED_EVENT

    def __init__(self) -> None:
        super().__init__()
        self._message: Members = {}
        self._usage: Members = {}
        self._blocks: dict[int, Members] = {}  # by their indexes
        self._inputs: dict[int, bytearray] = {}  # the inputs of tools, which come in pieces of a JSON text

    def add_in_steps(self, frame: bytes) -> Steps:
        """Add the next frame, a long one: the pieces of its event are filled when they are written."""
        if _INPUT_DELTA in frame[:_KIND_BYTES]:  # it is read again when all of it has come
            if len(frame) > MAX_INPUT_BYTES or json_text.holds_more_than(frame, MAX_INPUT_VALUES):
                raise ValueError(f"the input of a tool has more than {MAX_INPUT_BYTES} bytes")
            yield
            self.add(frame)
            return
        yield from super().add_in_steps(frame)

    def document(self, usage: Callable[[int], Usage]) -> JoinedAnswer:
        """The message; nothing is added after that."""
        content = Elements(self._blocks[index] for index in sorted(self._blocks))
        message: Members = {**self._message, "content": content}

        def complete(report: AnswerReport) -> Members:
            counts: Members = {name: PLAIN.write(count) for name, count in as_told(report.usage).items()}
            return {**message, "usage": counts | self._usage}

        return JoinedAnswer(complete, usage, is_short=self._size <= AT_ONCE)

    def _add(self, event: dict[str, Any]) -> Steps:
        match event["type"]:
            case "message_start":
                message = event["message"]
                yield from self._merge_usage(message.pop("usage", None))
                for index, block in enumerate(message.pop("content", None) or ()):
                    self._blocks[index] = {0: self._writer.write_inner(block)}
                yield from self._merge(self._message, message)
            case "content_block_start":
                block = self._blocks[_index_of(event)] = {}
                yield from self._merge(block, event["content_block"])
            case "content_block_delta":
                yield from self._add_delta(_index_of(event), event["delta"])
            case "content_block_stop":
                self._close(_index_of(event))
            case "message_delta":
                yield from self._merge_usage(event.pop("usage", None))
                yield from self._merge(self._message, event.pop("delta"))
                del event["type"]
                yield from self._merge(self._message, event)
            case "message_stop":
                for index in list(self._inputs):
                    self._close(index)

    def _add_delta(self, index: int, delta: dict[str, Any]) -> Steps:
        block = self._blocks.get(index)
        if block is None:
            raise ValueError("a block has a delta, and has not begun")
        del delta["type"]
        piece = delta.pop("partial_json", None)
        if isinstance(piece, str):
            text = self._inputs.setdefault(index, bytearray())
            text += piece.encode("utf-8", "surrogatepass")
            if len(text) > MAX_INPUT_BYTES:
                raise ValueError(f"the input of a tool has more than {MAX_INPUT_BYTES} bytes")
        if "citation" in delta:
            citations = block.get("citations")
            if not isinstance(citations, Elements):
                citations = Elements()
                self._put(block, "citations", citations)
            self._count_more(1)
            citations.append(self._writer.write(delta.pop("citation")))
        yield from self._merge(block, delta, grows=True)

    def _close(self, index: int) -> None:
        """Put the input of a tool into its block, once all of it has come."""
        text = self._inputs.pop(index, None)
        if not text:
            return
        if json_text.holds_more_than(text, MAX_INPUT_VALUES):
            raise ValueError(f"the input of a tool has more than {MAX_INPUT_VALUES} values")
        self._put(self._blocks[index], "input", PLAIN.write(json_text.loads(text)))

    def _merge(self, whole: Members, part: dict[str, Any], *, grows: bool = False) -> Steps:
        """Put the members of a part into what has come before; `grows`: its texts are added to the earlier ones."""
        for number, (name, value) in enumerate(part.items(), 1):
            if number % MEMBERS_OF_STEP == 0:
                yield
            known = whole.get(name)
            if isinstance(value, str) and name not in _WHOLE and not self._writer.is_left_out(name):
                if not (grows and isinstance(known, Text)):
                    known = Text()
                    self._put(whole, name, known)
                known.append(self._writer.write_inner(value))
            elif value is not None or name not in whole:
                self._set(whole, name, value)

    def _merge_usage(self, usage: Any) -> Steps:
        """Take the counts of a usage object, which are cumulative."""
        if isinstance(usage, dict):
            yield from self._merge(self._usage, {name: value for name, value in usage.items() if value is not None})


def _index_of(event: dict[str, Any]) -> int:
    index = event.get("index")
    if type(index) is not int:
        raise ValueError(f"a {event['type']} has no index")
    return index
