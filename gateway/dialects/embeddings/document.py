"""Pure: the answer with embeddings, which goes to the client as the very bytes that came, as far as it can.

In: the bytes of an answer. Out: a document that holds these bytes, and the usage that stands in them. The invariant:
vectors are neither parsed nor written again, so that an answer of tens of megabytes is checked and sent in short
steps. Only what strict clients need and an upstream left out is added behind its last member; and where NaN stands
for a number, which is no JSON, null takes its place.
"""

import re
from collections.abc import Generator, Mapping
from typing import Any

from gateway.dialects.choices.event_errors import read_event_error
from gateway.dialects.dialect import AnswerIdentity, AnswerReport, ReportedFailure
from gateway.dialects.long_answer import abridged_answer, told_in_full, value_of
from gateway.dialects.long_event import LONG_BYTES
from gateway.dialects.reported_usage import ReportedUsage, read_usage
from gateway.dialects.usage import Usage
from gateway.errors import UpstreamError
from gateway.wire import json_text
from gateway.wire.json_abridged import Abridged, Shape
from gateway.wire.json_filling import FilledText
from gateway.wire.json_members import Buffer
from gateway.wire.json_pieces import LongText, TextAsItCame

_READ = Shape(is_read_only=True)
_DETAIL = Shape({}, others=_READ, is_read_only=True)
ANSWER = Shape(
    {
        "model": _READ,
        "usage": Shape({}, others=_DETAIL),
        "error": Shape({}, elements=_DETAIL, others=_DETAIL, is_read_only=True),
    }
)
_STAND_IN = re.compile(r"L(.)(.)([0-9]{1,9})\1")  # of the elements of a long list (wire/json_abridged.py)
_BEFORE_A_VECTOR = 4096  # bytes of an element that may stand before the name of its vector


class EmbeddingsDocument:
    """An answer with embeddings. `abridged`: a long one that has to be repaired; then `content` is its short text."""

    __slots__ = ("_abridged", "_answer", "_content", "_model")

    def __init__(
        self, content: Buffer, answer: Mapping[str, Any], model: str, abridged: Abridged | None = None
    ) -> None:
        self._content = content
        self._answer = answer  # the value of the answer; of a long one, what was read of it
        self._model = model
        self._abridged = abridged

    def usage(self, prompt_tokens: int) -> Usage:
        """The upstream's count of the input, else our own estimate."""
        own = Usage(prompt_tokens, 0, estimated=True)
        reported = _reported(self._answer.get("usage"))
        return own if reported is None else reported.usage(own)

    def encode(self, report: AnswerReport) -> bytes | LongText:
        """The answer as it came, and behind it what an upstream left out of it."""
        more = self._left_out(report)
        end = self._content.rindex(b"}") if more else None
        text = TextAsItCame(self._content, end, more + b"}" if more else b"")
        if self._abridged is not None:
            return FilledText(self._abridged, bytes(text))
        return text if text.size > LONG_BYTES else bytes(text)

    def _left_out(self, report: AnswerReport) -> bytes:
        """The members that an answer needs and does not have, with a comma before each."""
        usage = {"prompt_tokens": report.usage.prompt_tokens, "total_tokens": report.usage.prompt_tokens}
        needed = {"object": "list", "model": self._model, "usage": usage}
        members = {name: value for name, value in needed.items() if name not in self._answer}
        return b"," + json_text.dumps_line(members)[1:-1] if members else b""


def read_document(content: Buffer, identity: AnswerIdentity) -> EmbeddingsDocument:
    """Read an answer of some kilobytes. Raises `UpstreamError` if it is none, or an error object."""
    answer, text = _value_in(content)
    return EmbeddingsDocument(text, _checked(answer), identity.model)


def read_in_steps(content: Buffer, identity: AnswerIdentity) -> Generator[None, None, EmbeddingsDocument]:
    """Read a long answer in steps of some milliseconds. Raises `UpstreamError` as `read_document` does."""
    abridged = yield from abridged_answer(content, ANSWER)
    answer, short = _value_in(abridged.text)
    try:
        found = _checked(answer, abridged)
    except ReportedFailure as failure:
        raise told_in_full(failure, abridged) from None
    if abridged.is_repaired or short is not abridged.text:
        return EmbeddingsDocument(short, found, identity.model, abridged)
    return EmbeddingsDocument(content, found, identity.model)


def _value_in(content: Buffer) -> tuple[Any, Buffer]:
    """The value of a JSON text, and the text, in which null takes the place of NaN. Raises `UpstreamError`."""
    answer, is_repaired = value_of(content)
    return answer, json_text.dumps(answer) if is_repaired else content


def _checked(answer: Any, abridged: Abridged | None = None) -> dict[str, Any]:
    """The object that an answer is. Raises `UpstreamError` if it has no embeddings."""
    if isinstance(answer, list) and answer and isinstance(answer[0], dict):  # Google lists the object of an error
        answer = {**answer[0], "data": None}
    if not isinstance(answer, dict):
        raise UpstreamError("the upstream's answer is not a JSON object")
    data = answer.get("data")
    if not data and (message := read_event_error(answer)) is not None:
        raise ReportedFailure.of(message)
    if not isinstance(data, list):
        raise UpstreamError("the upstream's answer has no embeddings: it has no list `data`")
    if data and not _is_vector(data[0], abridged):
        raise UpstreamError("the upstream's answer has no embeddings: its list `data` holds something else")
    return answer


def _is_vector(element: Any, abridged: Abridged | None) -> bool:
    """Whether the first element of the list has a vector; of a long list, as far as its beginning tells."""
    if abridged is None or not isinstance(element, str) or (found := _STAND_IN.fullmatch(element)) is None:
        return isinstance(element, dict) and "embedding" in element
    start = abridged.cuts[int(found[3])].ranges[0].start
    return abridged.data.find(b'"embedding"', start, start + _BEFORE_A_VECTOR) >= 0


def _reported(usage: Any) -> ReportedUsage | None:
    """The count of the input: all that is told, since nothing is generated; some upstreams tell the total alone."""
    found = read_usage(usage)
    if found is None:
        return None
    return ReportedUsage(found.prompt or found.total or found.completion, 0, found.details)
