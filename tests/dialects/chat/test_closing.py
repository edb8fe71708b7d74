"""How a stream of chat completions ends: with the usage where a client wants it, or with an error that SDKs raise."""

from typing import Any

import orjson
import pytest
from auriko.models.common import Usage as StrictUsage

from gateway.dialects.chat.reader import SILENT
from gateway.dialects.chat.repair import Identity
from gateway.dialects.choices.closing import break_frames, closing_frames
from gateway.dialects.dialect import AnswerReport
from gateway.dialects.usage import Usage
from gateway.errors import UpstreamStalled
from gateway.wire import sse

IDENTITY = Identity("chatcmpl-1", 1_750_000_000, "gpt-x")
REPORT = AnswerReport(Usage(3, 4, estimated=True), {"provider": "alpha", "note": "a\u2028b"})
FINISH = b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"x":"\\u2028"}\n\n'


def only(frames: list[bytes]) -> dict[str, Any]:
    """The object of the only frame, which no client cuts in two."""
    (frame,) = frames
    assert sse.is_frame(frame)
    assert "\u2028".encode() not in frame
    value: dict[str, Any] = orjson.loads(frame[6:])
    return value


def test_a_report_is_an_event_without_choices_that_bears_the_identity_of_the_answer() -> None:
    event = only(closing_frames(IDENTITY, SILENT, REPORT, None))
    assert (event["id"], event["created"], event["model"]) == ("chatcmpl-1", 1_750_000_000, "gpt-x")
    assert (event["object"], event["choices"]) == ("chat.completion.chunk", [])
    assert event["routing_metadata"] == REPORT.metadata
    StrictUsage.model_validate(event["usage"])


def test_a_finish_that_was_held_back_carries_the_report() -> None:
    event = only(closing_frames(IDENTITY, SILENT, REPORT, FINISH))
    members = {"usage": REPORT.usage.as_json(), "routing_metadata": REPORT.metadata}
    assert event == {**orjson.loads(FINISH[6:]), **members}


@pytest.mark.parametrize("held", [[], [FINISH]])
def test_without_a_report_there_is_nothing_but_the_finish_that_was_held_back(held: list[bytes]) -> None:
    assert closing_frames(IDENTITY, SILENT, None, held[0] if held else None) == held


def test_what_was_told_beside_the_usage_is_not_lost_without_a_report() -> None:
    kept = {"timings": {"predicted_n": 1}, "provider": "x"}
    assert only(closing_frames(IDENTITY, SILENT, None, FINISH, kept)) == {
        **orjson.loads(FINISH[6:]),
        "timings": kept["timings"],
    }
    event = only(closing_frames(IDENTITY, SILENT, None, None, kept))
    assert event["choices"] == [{"index": 0, "delta": {}, "finish_reason": None}]
    assert (event["timings"], "provider" in event, "usage" in event) == (kept["timings"], False, False)
    assert closing_frames(IDENTITY, SILENT, None, None, {"provider": "x"}) == []


def test_a_break_is_the_envelope_of_the_error_as_an_event() -> None:
    error = UpstreamStalled("no event\u2028for 60 s")
    assert only(break_frames(error)) == error.envelope()
