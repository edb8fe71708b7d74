"""Pure: a whole message, the answer to a request that is not streamed.

The invariant: a message that lacks nothing goes out as the very bytes that came.
"""

from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any

from gateway.dialects.dialect import AnswerIdentity, AnswerReport, ReportedFailure
from gateway.dialects.messages import errors
from gateway.dialects.messages.repair import block_bytes, repair_message, repair_usage
from gateway.dialects.messages.shapes import MESSAGE
from gateway.dialects.messages.told_usage import as_told, usage_of
from gateway.dialects.usage import Usage, estimate
from gateway.errors import UpstreamError
from gateway.wire import json_text
from gateway.wire.json_abridged import Abridged, Abridger, TooManyEntries
from gateway.wire.json_filling import PART_BYTES, FilledText, hidden_text_bytes, without_stand_ins
from gateway.wire.json_members import Buffer
from gateway.wire.json_outline import TooDeep
from gateway.wire.json_pieces import LongText

MAX_VALUES = 60_000  # JSON values of one message: more would take the event loop for over 20 ms


class TextAsItCame:
    """A JSON text that is sent as it came, in parts (`LongText`)."""

    __slots__ = ("_content",)

    def __init__(self, content: Buffer) -> None:
        self._content = content

    def __bytes__(self) -> bytes:
        return bytes(self._content)

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return len(self._content)

    def parts(self) -> Iterator[bytes]:
        """The text, in parts that take 0.1 ms each."""
        for at in range(0, len(self._content), PART_BYTES):
            yield bytes(self._content[at : at + PART_BYTES])


class MessageDocument:
    """A message that official clients accept.

    `content`: its bytes, if they are relayed as they came. `abridged`: what a long message was made of.
    """

    __slots__ = ("_abridged", "_content", "_message")

    def __init__(self, message: dict[str, Any], content: Buffer | None, abridged: Abridged | None) -> None:
        self._message = message
        self._content = content
        self._abridged = abridged

    def usage(self, prompt_tokens: int) -> Usage:
        """The upstream's counts, else an estimate by the text, as of a stream of the same text."""
        size = sum(map(block_bytes, self._message["content"]))
        if self._abridged is not None:
            size += hidden_text_bytes(self._abridged, json_text.dumps(self._message["content"]))
        return usage_of(self._message, estimate(prompt_tokens, 0, size))

    def encode(self, report: AnswerReport) -> bytes | LongText:
        """The message; of the report it holds the usage, if the upstream told none."""
        lacks_usage = repair_usage(self._message, as_told(report.usage))
        if self._content is not None and not lacks_usage:
            return bytes(self._content) if self._abridged is None else TextAsItCame(self._content)
        text = json_text.dumps_line(self._message)
        return text if self._abridged is None else FilledText(self._abridged, text)


def read_long_document(
    content: bytes | bytearray, identity: AnswerIdentity
) -> Generator[None, None, MessageDocument]:
    """Read a long message in steps. Raises `UpstreamError` as `read_document` does."""
    abridger = Abridger(content, MESSAGE)
    try:
        yield from abridger.steps()
        abridged = abridger.abridged()
    except TooManyEntries as error:
        raise UpstreamError(f"the upstream's answer holds {error}") from None
    except TooDeep:
        raise UpstreamError("the upstream's answer is nested too deeply") from None
    except ValueError:
        raise UpstreamError("the upstream's answer is not JSON") from None
    yield
    try:
        return read_document(abridged.text, identity, abridged)
    except ReportedFailure as failure:
        told = failure.told
        raise ReportedFailure.of(replace(told, text=without_stand_ins(abridged, told.text))) from None


def read_document(
    content: bytes | bytearray, identity: AnswerIdentity, abridged: Abridged | None = None
) -> MessageDocument:
    """Read a message. Raises `UpstreamError` if the content is no message, or an error object.

    `abridged`: a long message, of which `content` is the short text.
    """
    if json_text.holds_more_than(content, MAX_VALUES):
        raise UpstreamError(f"the upstream's answer holds more than {MAX_VALUES} values")
    message, is_repaired = _loads(content)
    if isinstance(message, list) and message:  # Google lists the object of an error
        message = message[0]
    if not isinstance(message, dict):
        raise UpstreamError("the upstream's answer is not a JSON object")
    blocks = message.get("content")
    if not isinstance(blocks, list):
        if message.get("type") == "error" or message.get("error") or message.get("detail"):
            raise ReportedFailure.of(errors.read_error(message))
        raise UpstreamError("the upstream's answer is not a message: it has no list of content")
    if not all(isinstance(block, dict) for block in blocks):
        raise UpstreamError("the upstream's answer is not a message: its content is not a list of objects")
    is_repaired |= repair_message(message, identity)
    came = content if abridged is None else abridged.data
    is_repaired |= abridged is not None and abridged.is_repaired
    return MessageDocument(message, None if is_repaired else came, abridged)


def _loads(content: bytes | bytearray) -> tuple[Any, bool]:
    """The value of an answer, and whether null takes the place of NaN or infinity in it. Raises `UpstreamError`."""
    try:
        return json_text.loads(content), False
    except ValueError:
        pass
    try:
        return json_text.loads_with_nulls(content), True
    except ValueError:
        raise UpstreamError("the upstream's answer is not JSON") from None
