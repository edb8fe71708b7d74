"""Pure: what the dialects share in reading a whole answer: its JSON, and a long one in short.

In: the bytes of an answer. Out: its value, or, in short steps, what `wire/json_abridged.py` makes of it; what cannot
be read is an `UpstreamError`.
"""

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from gateway.dialects.dialect import ReportedFailure
from gateway.errors import UpstreamError
from gateway.wire import json_text
from gateway.wire.json_abridged import Abridged, Abridger, Shape, TooManyEntries
from gateway.wire.json_filling import without_stand_ins
from gateway.wire.json_members import Buffer
from gateway.wire.json_outline import TooDeep

_NO_JSON = "the upstream's answer is not JSON"


def abridged_answer(content: Buffer, shape: Shape) -> Generator[None, None, Abridged]:
    """A long answer in short, of which `shape` is looked at. Raises `UpstreamError`."""
    abridger = Abridger(content, shape)
    try:
        yield from abridger.steps()
        abridged = abridger.abridged()
    except TooManyEntries as error:
        raise UpstreamError(f"the upstream's answer holds {error}") from None
    except TooDeep:
        raise UpstreamError("the upstream's answer is nested too deeply") from None
    except ValueError:
        raise UpstreamError(_NO_JSON) from None
    yield
    return abridged


def told_in_full(failure: ReportedFailure, abridged: Abridged) -> ReportedFailure:
    """The failure that a long answer tells of, in words without the stand-ins of its short text."""
    told = failure.told
    return ReportedFailure.of(replace(told, text=without_stand_ins(abridged, told.text)))


def value_of(content: Buffer) -> tuple[Any, bool]:
    """The value of an answer, and whether null takes the place of NaN or infinity in it. Raises `UpstreamError`."""
    try:
        return json_text.loads(content), False
    except ValueError:
        pass
    try:
        return json_text.loads_with_nulls(content), True
    except ValueError:
        raise UpstreamError(_NO_JSON) from None


def object_of(answer: Any) -> dict[str, Any]:
    """The object that an answer is. Raises `UpstreamError`."""
    if isinstance(answer, list) and answer:  # Google lists the object of an error
        answer = answer[0]
    if not isinstance(answer, dict):
        raise UpstreamError("the upstream's answer is not a JSON object")
    return answer
