"""Pure: a whole message, the answer to a request that is not streamed.

The invariant: a message that lacks nothing goes out as the very bytes that came.
"""

from collections.abc import Generator
from typing import Any

from gateway.dialects.dialect import AnswerIdentity, AnswerReport, ReportedFailure
from gateway.dialects.long_answer import abridged_answer, object_of, told_in_full, value_of
from gateway.dialects.messages import errors
from gateway.dialects.messages.repair import block_bytes, repair_message, repair_usage
from gateway.dialects.messages.shapes import MESSAGE
from gateway.dialects.messages.told_usage import as_told, usage_of
from gateway.dialects.usage import Usage, estimate
from gateway.errors import UpstreamError
from gateway.wire import json_text
from gateway.wire.json_abridged import Abridged
from gateway.wire.json_filling import FilledText, hidden_text_bytes
from gateway.wire.json_members import Buffer
from gateway.wire.json_pieces import LongText, TextAsItCame

MAX_VALUES = 60_000  # JSON values of one message: more would take the event loop for over 20 ms


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
    abridged = yield from abridged_answer(content, MESSAGE)
    try:
        return read_document(abridged.text, identity, abridged)
    except ReportedFailure as failure:
        raise told_in_full(failure, abridged) from None


def read_document(
    content: bytes | bytearray, identity: AnswerIdentity, abridged: Abridged | None = None
) -> MessageDocument:
    """Read a message. Raises `UpstreamError` if the content is no message, or an error object.

    `abridged`: a long message, of which `content` is the short text.
    """
    if json_text.holds_more_than(content, MAX_VALUES):
        raise UpstreamError(f"the upstream's answer holds more than {MAX_VALUES} values")
    value, is_repaired = value_of(content)
    message = object_of(value)
    blocks = message.get("content")
    if not isinstance(blocks, list):
        if message.get("type") == "error" or message.get("error") or message.get("detail"):
            raise ReportedFailure.of(errors.read_error(message))
        raise UpstreamError("the upstream's answer is not a message: it has no list of content")
    if (told := errors.read_inner_error(message)) is not None:
        raise ReportedFailure.of(told)
    if not all(isinstance(block, dict) for block in blocks):
        raise UpstreamError("the upstream's answer is not a message: its content is not a list of objects")
    is_repaired |= repair_message(message, identity)
    came = content if abridged is None else abridged.data
    is_repaired |= abridged is not None and abridged.is_repaired
    return MessageDocument(message, None if is_repaired else came, abridged)
