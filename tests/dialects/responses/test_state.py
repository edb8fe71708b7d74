"""What is remembered of a response: its id, and where its events stand by their numbers."""

import orjson
import pytest

from gateway.dialects.responses.state import (
    KEPT,
    first_behind,
    frames_behind,
    number_of,
    response_id_in,
    response_id_of,
)
from gateway.errors import StreamAborted, UpstreamError
from gateway.wire import sse

from .events import answer, completed, created, delta, event, reader, response

LONG = "A" * 100_000


def test_the_id_is_found_in_the_first_event_and_in_a_document() -> None:
    assert response_id_in(created()) == response_id_in(completed(9)) == "resp_1"
    assert response_id_of(orjson.dumps(response())) == "resp_1"
    assert response_id_in(created(instructions=LONG)) == "resp_1"


@pytest.mark.parametrize(
    "frame",
    [delta(1, "a"), created(id=7), created(id=""), created(id="x" * 600), sse.KEEPALIVE, b"data: [DONE]\n\n", b""],
)
def test_no_id_is_made_up(frame: bytes) -> None:
    assert response_id_in(frame) is None


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"id":7}', b"nonsense"])
def test_no_id_is_made_up_of_a_document(document: bytes) -> None:
    assert response_id_of(document) is None


@pytest.mark.parametrize(
    ("frame", "number"),
    [
        (created(0), 0),
        (delta(17, '"sequence_number":3'), 17),
        (event("x", 5, more={"sequence_number": 9}), 5),
        (sse.frame(b'{"type":"x","sequence_number" : 12 }'), 12),
        (sse.frame(b'{"type":"x"}'), None),
        (sse.frame(b'{"type":"x","sequence_number":"4"}'), None),
        (b"data: [DONE]\n\n", None),
        (event("response.image_generation_call.partial_image", 8, partial_image_b64=LONG), 8),
    ],
)
def test_the_number_of_a_frame(frame: bytes, number: int | None) -> None:
    assert number_of(frame) == number


@pytest.mark.parametrize("first", [0, 1, 5])
def test_the_events_behind_a_number_are_found_whatever_the_first_number_is(first: int) -> None:
    frames = answer("a", "b", "c", first=first)
    for number in range(-1, first + len(frames) + 2):
        expected = [frame for frame in frames if (number_of(frame) or 0) > number]
        assert frames_behind(frames, number) == expected
    assert first_behind([], 3) == 0


def test_the_events_behind_a_number_that_was_left_out_are_those_above_it() -> None:
    frames = [created(0), delta(4, "a"), delta(9, "b")]
    assert [first_behind(frames, number) for number in (-1, 0, 3, 4, 8, 9, 100)] == [0, 1, 1, 2, 2, 3, 3]


def test_few_of_many_frames_are_looked_at() -> None:
    looked: list[int] = []

    class Frames(list[bytes]):
        def __getitem__(self, index: object) -> bytes:  # type: ignore[override]
            assert isinstance(index, int)
            looked.append(index)
            return super().__getitem__(index)

    frames = Frames(delta(number, "a") for number in range(4096))
    assert first_behind(frames, 3000) == 3001
    assert len(looked) < 15


def test_the_id_of_a_stream_and_of_a_document_that_has_only_begun() -> None:
    whole = orjson.dumps(response(output=[LONG]))
    assert KEPT.answer_id(answer("a")[0]) == KEPT.answer_id(whole) == KEPT.answer_id(whole[:100]) == "resp_1"
    assert KEPT.answer_id(b'{"object":"response","id":"resp_2"}') == "resp_2"
    assert KEPT.answer_id(b'{"object":"response","id":"re') is None
    assert KEPT.answer_id(sse.KEEPALIVE) is None


def test_the_response_as_far_as_its_frames_tell_it() -> None:
    frames = answer("Hel", "lo")
    whole = orjson.loads(KEPT.document(frames) or b"")
    assert (whole["status"], whole["output"][0]["content"][0]["text"]) == ("completed", "Hello")
    half = orjson.loads(KEPT.document(frames[:-1]) or b"")
    assert (half["id"], half["status"], half["output"]) == ("resp_1", "in_progress", whole["output"])
    begun = orjson.loads(KEPT.document(frames[:5]) or b"")
    assert (begun["id"], begun["output"]) == ("resp_1", [])
    assert KEPT.document([]) is None
    assert KEPT.document([delta(1, "a")]) is None
    assert KEPT.number(frames[3]) == 3


def test_a_response_that_was_stopped_is_cancelled_and_one_that_broke_off_has_failed() -> None:
    found = reader()
    frames = [created(0), delta(1, "a")]
    for frame in frames:
        found.read(frame)
    stopped = orjson.loads(KEPT.document([*frames, *found.break_frames(StreamAborted("stopped"))]) or b"")
    assert (stopped["id"], stopped["status"], stopped["error"]) == ("resp_1", "cancelled", None)
    failed = orjson.loads(KEPT.document([*frames, *found.break_frames(UpstreamError("gone"))]) or b"")
    assert (failed["status"], failed["error"]["code"]) == ("failed", "upstream_error")
