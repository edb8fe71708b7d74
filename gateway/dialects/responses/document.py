"""Pure: a whole response, the answer to a request that is not streamed. Its bytes go to the client as they came."""

from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any

from gateway.dialects.dialect import AnswerReport, ReportedFailure
from gateway.dialects.reported_usage import ReportedUsage, read_usage
from gateway.dialects.responses.errors import is_error, read_failed, read_refusal
from gateway.dialects.responses.shapes import RESPONSE
from gateway.dialects.responses.texts import output_bytes
from gateway.dialects.usage import Usage, estimate
from gateway.errors import UpstreamError
from gateway.wire import json_text
from gateway.wire.json_abridged import Abridged, Abridger, TooManyEntries
from gateway.wire.json_filling import FilledText, hidden_text_bytes, without_stand_ins
from gateway.wire.json_outline import TooDeep
from gateway.wire.json_pieces import LongText

_PART_BYTES = 131072  # 0.1 ms to copy


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


class LongBytes:
    """A long JSON text as it came (`LongText`)."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = data

    def __bytes__(self) -> bytes:
        return bytes(self._data)

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return len(self._data)

    def parts(self) -> Iterator[bytes]:
        """The text, in parts that take a tenth of a millisecond each."""
        for at in range(0, len(self._data), _PART_BYTES):
            yield bytes(self._data[at : at + _PART_BYTES])


def read_document(content: bytes | bytearray) -> ResponseDocument:
    """Read a response. Raises `UpstreamError` if the content is no response, or tells of a failure."""
    response, text = _loaded(bytes(content))
    checked = _checked(response)
    return ResponseDocument(text, checked, output_bytes(checked))


def read_long_document(content: bytes | bytearray) -> Generator[None, None, ResponseDocument]:
    """Read a long response in steps. Raises `UpstreamError` as `read_document` does."""
    abridger = Abridger(content, RESPONSE)
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
    return _from_short(content, abridged)


def _from_short(content: bytes | bytearray, abridged: Abridged) -> ResponseDocument:
    value, text = _loaded(abridged.text)
    try:
        response = _checked(value)
    except ReportedFailure as failure:
        told = failure.told
        raise ReportedFailure.of(replace(told, text=without_stand_ins(abridged, told.text))) from None
    size = output_bytes(response) + hidden_text_bytes(abridged, text)
    is_changed = abridged.is_repaired or text is not abridged.text
    return ResponseDocument(FilledText(abridged, text) if is_changed else LongBytes(content), response, size)


def _loaded(text: bytes) -> tuple[Any, bytes]:
    """The value of a JSON text, and the text, with null in place of NaN. Raises `UpstreamError`."""
    try:
        return json_text.loads(text), text
    except ValueError:
        try:
            return json_text.loads_with_nulls(text), json_text.with_nulls(text)
        except ValueError:
            raise UpstreamError("the upstream's answer is not JSON") from None


def _checked(response: Any) -> dict[str, Any]:
    """The object of a response that has not failed. Raises `UpstreamError`."""
    if isinstance(response, list) and response:  # Google lists the object of an error
        response = response[0]
    if not isinstance(response, dict):
        raise UpstreamError("the upstream's answer is not a JSON object")
    if (told := read_failed(response)) is not None:
        raise ReportedFailure.of(told)
    if not (response.get("object") == "response" or isinstance(response.get("output"), list)):
        if is_error(response) and (told := read_refusal(response)) is not None:
            raise ReportedFailure.of(told)
        raise UpstreamError("the upstream's answer is not a response")
    return response
