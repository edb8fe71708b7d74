"""Pure: a whole response, the answer to a request that is not streamed. Its bytes go to the client as they came."""

from collections.abc import Generator
from typing import Any

from gateway.dialects.dialect import AnswerReport, ReportedFailure
from gateway.dialects.long_answer import abridged_answer, object_of, told_in_full, value_of
from gateway.dialects.reported_usage import ReportedUsage, read_usage
from gateway.dialects.responses.errors import is_error, read_failed, read_refusal
from gateway.dialects.responses.shapes import RESPONSE
from gateway.dialects.responses.texts import output_bytes
from gateway.dialects.usage import Usage, estimate
from gateway.errors import UpstreamError
from gateway.wire import json_text
from gateway.wire.json_abridged import Abridged
from gateway.wire.json_filling import FilledText, hidden_text_bytes
from gateway.wire.json_pieces import LongText, TextAsItCame


class ResponseDocument:
    """A response as it came. `size`: the bytes of its texts."""

    __slots__ = ("_content", "_size", "_usage", "response_id")

    def __init__(self, content: bytes | LongText, response: dict[str, Any], size: int) -> None:
        self._content = content
        self._size = size
        self._usage: ReportedUsage | None = read_usage(response.get("usage"))
        found = response.get("id")
        self.response_id: str | None = found if isinstance(found, str) else None

    def usage(self, prompt_tokens: int) -> Usage:
        """The upstream's counts, else an estimate by the text."""
        own = estimate(prompt_tokens, self._size > 0, self._size)
        return own if self._usage is None else self._usage.usage(own)

    def encode(self, report: AnswerReport) -> bytes | LongText:
        """The response, which has its usage, and no place for a report."""
        return self._content


def read_document(content: bytes | bytearray) -> ResponseDocument:
    """Read a response. Raises `UpstreamError` if the content is no response, or tells of a failure."""
    response, text = _loaded(bytes(content))
    checked = _checked(response)
    return ResponseDocument(text, checked, output_bytes(checked))


def read_long_document(content: bytes | bytearray) -> Generator[None, None, ResponseDocument]:
    """Read a long response in steps. Raises `UpstreamError` as `read_document` does."""
    abridged = yield from abridged_answer(content, RESPONSE)
    return _from_short(content, abridged)


def _from_short(content: bytes | bytearray, abridged: Abridged) -> ResponseDocument:
    value, text = _loaded(abridged.text)
    try:
        response = _checked(value)
    except ReportedFailure as failure:
        raise told_in_full(failure, abridged) from None
    size = output_bytes(response) + hidden_text_bytes(abridged, text)
    is_changed = abridged.is_repaired or text is not abridged.text
    return ResponseDocument(FilledText(abridged, text) if is_changed else TextAsItCame(content), response, size)


def _loaded(text: bytes) -> tuple[Any, bytes]:
    """The value of a JSON text, and the text, with null in place of NaN. Raises `UpstreamError`."""
    value, is_repaired = value_of(text)
    return value, json_text.with_nulls(text) if is_repaired else text


def _checked(answer: Any) -> dict[str, Any]:
    """The object of a response that has not failed. Raises `UpstreamError`."""
    response = object_of(answer)
    if (told := read_failed(response)) is not None:
        raise ReportedFailure.of(told)
    if not (response.get("object") == "response" or isinstance(response.get("output"), list)):
        if is_error(response) and (told := read_refusal(response)) is not None:
            raise ReportedFailure.of(told)
        raise UpstreamError("the upstream's answer is not a response")
    return response
