"""What is remembered of a response: its id, its conversation, and the numbers of its events."""

import orjson
import pytest

from gateway.dialects.responses.state import KEPT, number_of, response_id_in, response_id_of
from gateway.wire import sse

from .events import answer, completed, created, delta, event, response

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


def test_the_id_of_a_stream_and_of_a_document_that_has_only_begun() -> None:
    whole = orjson.dumps(response(output=[LONG]))
    assert KEPT.answer_id(answer("a")[0]) == KEPT.answer_id(whole) == KEPT.answer_id(whole[:100]) == "resp_1"
    assert KEPT.answer_id(b'{"object":"response","id":"resp_2"}') == "resp_2"
    assert KEPT.answer_id(b'{"object":"response","id":"re') is None
    assert KEPT.answer_id(sse.KEEPALIVE) is None


@pytest.mark.parametrize("belongs", ["conv_1", {"id": "conv_1"}])
def test_the_conversation_is_found_in_the_first_event_and_in_a_document(belongs: object) -> None:
    assert KEPT.conversation_id(created(conversation=belongs)) == "conv_1"
    assert KEPT.conversation_id(orjson.dumps(response(conversation=belongs))) == "conv_1"


@pytest.mark.parametrize("belongs", [None, 7, "", {}, {"id": None}, ["conv_1"], "x" * 600])
def test_no_conversation_is_made_up(belongs: object) -> None:
    assert KEPT.conversation_id(created(conversation=belongs)) is None
    assert KEPT.conversation_id(orjson.dumps(response(conversation=belongs))) is None


@pytest.mark.parametrize(
    "first", [b"", b"{", b"data: 7\n\n", created(), created(instructions=LONG, conversation="c"), sse.KEEPALIVE]
)
def test_no_conversation_is_found_where_none_is_told(first: bytes) -> None:
    assert KEPT.conversation_id(first) is None
