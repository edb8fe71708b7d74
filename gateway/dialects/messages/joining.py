"""Pure: joins the events of a streamed message to the whole message that they tell.

In: frames as the reader of the dialect gives them, repaired. Out: the document of an answer that is not streamed. The
invariant: what events hold is kept as JSON, not as values, so that it takes no more memory than the events did.
"""

from collections.abc import Callable, Iterator
from typing import Any

from gateway.dialects.dialect import AnswerReport
from gateway.dialects.messages.shapes import JOINED_EVENT
from gateway.dialects.messages.told_usage import as_told
from gateway.dialects.usage import Usage
from gateway.wire import json_text
from gateway.wire.json_abridged import Abridger
from gateway.wire.json_pieces import Elements, JoinedText, LongText, Members, PieceWriter, Text

MAX_MEMBERS = 100_000  # of the message and of all its blocks
MAX_INPUT_BYTES = 1 << 20  # of the input of one tool, which is read in one step: 10 ms
MAX_INPUT_VALUES = 60_000  # JSON values of one input
_AT_ONCE = 1 << 18  # bytes of events from which a document is written in one step: 3 ms
_MEMBERS_OF_STEP = 1000  # 4 ms
_WHOLE = frozenset({"signature", "type"})  # strings of a delta that come at once
_INPUT_DELTA = b'"input_json_delta"'
_KIND_BYTES = 512  # of a frame, in which the type of its delta stands
_PLAIN = PieceWriter()

Steps = Iterator[None]


class JoinedMessage:
    """The whole message, and the usage as the reader of its events tells it."""

    __slots__ = ("_is_short", "_message", "_usage")

    def __init__(self, message: Members, usage: Callable[[int], Usage], *, is_short: bool) -> None:
        self._message = message
        self._usage = usage
        self._is_short = is_short

    def usage(self, prompt_tokens: int) -> Usage:
        return self._usage(prompt_tokens)

    def encode(self, report: AnswerReport) -> bytes | LongText:
        counts: Members = {name: _PLAIN.write(count) for name, count in as_told(report.usage).items()}
        told = self._message.get("usage")
        text = JoinedText(self._message | {"usage": counts | told if isinstance(told, dict) else counts})
        return bytes(text) if self._is_short else text


class MessagesJoiner:
    """Joins the events of one message. Texts are collected in pieces, which are never joined here."""

    __slots__ = ("_blocks", "_count", "_inputs", "_message", "_size", "_usage", "_writer")

    def __init__(self) -> None:
        self._message: Members = {}
        self._usage: Members = {}
        self._blocks: dict[int, Members] = {}  # by their indexes
        self._inputs: dict[int, bytearray] = {}  # the inputs of tools, which come in pieces of a JSON text
        self._count = 0  # of members
        self._size = 0  # of all frames
        self._writer = _PLAIN  # of the event that is being added

    def add(self, frame: bytes) -> None:
        """Add the next frame. Raises `ValueError` if it is too much, or does not fit to those before."""
        self._size += len(frame)
        for _ in self._add(json_text.loads(frame[_data_at(frame) :])):
            pass

    def add_in_steps(self, frame: bytes) -> Steps:
        """Add the next frame, a long one: the pieces of its event are filled when they are written."""
        if _INPUT_DELTA in frame[:_KIND_BYTES]:  # it is read again when all of it has come
            if len(frame) > MAX_INPUT_BYTES or json_text.holds_more_than(frame, MAX_INPUT_VALUES):
                raise ValueError(f"the input of a tool has more than {MAX_INPUT_BYTES} bytes")
            yield
            self.add(frame)
            return
        self._size += len(frame)
        abridger = Abridger(frame, JOINED_EVENT, _data_at(frame), len(frame) - len(b"\n\n"))
        yield from abridger.steps()
        abridged = abridger.abridged()
        yield
        self._writer = PieceWriter(abridged)
        yield from self._add(json_text.loads(abridged.text))
        self._writer = _PLAIN

    def document(self, usage: Callable[[int], Usage]) -> JoinedMessage:
        """The message; nothing is added after that."""
        content = Elements(self._blocks[index] for index in sorted(self._blocks))
        message: Members = {**self._message, "content": content, "usage": self._usage}
        return JoinedMessage(message, usage, is_short=self._size <= _AT_ONCE)

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
        self._put(self._blocks[index], "input", _PLAIN.write(json_text.loads(text)))

    def _merge(self, whole: Members, part: dict[str, Any], *, grows: bool = False) -> Steps:
        """Put the members of a part into what has come before; `grows`: its texts are added to the earlier ones."""
        for number, (name, value) in enumerate(part.items(), 1):
            if number % _MEMBERS_OF_STEP == 0:
                yield
            known = whole.get(name)
            if self._writer.is_left_out(name):
                whole[len(whole)] = self._writer.write_inner({name: value})
                self._count_more(1)
            elif isinstance(value, str) and name not in _WHOLE:
                if not (grows and isinstance(known, Text)):
                    known = Text()
                    self._put(whole, name, known)
                known.append(self._writer.write_inner(value))
            elif value is not None or name not in whole:
                self._put(whole, name, self._writer.write(value))

    def _merge_usage(self, usage: Any) -> Steps:
        """Take the counts of a usage object, which are cumulative."""
        if isinstance(usage, dict):
            yield from self._merge(self._usage, {name: value for name, value in usage.items() if value is not None})

    def _put(self, whole: Members, name: str, node: Any) -> None:
        if name not in whole:
            self._count_more(1)
        whole[name] = node

    def _count_more(self, members: int) -> None:
        self._count += members
        if self._count > MAX_MEMBERS:
            raise ValueError(f"more than {MAX_MEMBERS} members")


def _data_at(frame: bytes) -> int:
    """Where the JSON of a frame begins, behind its name."""
    return frame.index(b"\ndata: ") + len(b"\ndata: ")


def _index_of(event: dict[str, Any]) -> int:
    index = event.get("index")
    if type(index) is not int:
        raise ValueError(f"a {event['type']} has no index")
    return index
