"""The dialect as the gateway sees it: its values, its errors, and a body that relays one of its answers."""

import orjson
import pytest

from gateway.dialects.responses.dialect import RESPONSES
from gateway.errors import InvalidParameter, RateLimited
from gateway.upstream.bodies import StreamBody
from gateway.wire.http1 import encode_chunk
from tests.upstream.body_owner import Owner

from .events import answer, created, delta, event, reader


def test_it_has_the_values_that_a_dialect_has() -> None:
    assert (RESPONSES.name, RESPONSES.speaks, RESPONSES.streams) == ("responses", "responses", True)
    assert (RESPONSES.path, RESPONSES.upstream_path) == ("/v1/responses", "/responses")
    assert (RESPONSES.forwarded, RESPONSES.forwards_query, RESPONSES.id_field) == ({}, False, None)
    assert RESPONSES.keepalive.startswith(b":"), "an event of the gateway's own would break helpers of SDKs"
    assert RESPONSES.terminal == b""


def test_an_error_has_the_envelope_of_openai() -> None:
    refusal = RESPONSES.refusal(InvalidParameter("input: is required", param="input"), "req1")
    assert refusal.status == 400
    assert orjson.loads(refusal.body)["error"] == {
        "message": "input: is required",
        "type": "invalid_request_error",
        "code": "invalid_parameter_value",
        "param": "input",
    }
    assert RESPONSES.refusal(RateLimited("slow down", retry_after=3), "req1").headers["Retry-After"] == "3"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "no credit", "code": "insufficient_quota"}}, "no credit"),
        ({"detail": "not found"}, "not found"),
        ({"output": [], "error": {"message": "x"}}, None),
        ({}, None),
    ],
)
def test_the_words_of_an_error_answer_are_found(body: dict[str, object], words: str | None) -> None:
    found = RESPONSES.read_error(body)
    assert (None if found is None else found.text) == words


class Played:
    """A body of one response, and what came of it."""

    def __init__(self, *, hold_finish: bool = False) -> None:
        self.owner = Owner()
        self.owner.body = self.body = StreamBody(self.owner, reader(), hold_finish=hold_finish)


@pytest.mark.parametrize("hold_finish", [False, True])
def test_the_announcements_are_held_until_the_first_text_and_go_out_in_order(hold_finish: bool) -> None:
    played, blocks = Played(hold_finish=hold_finish), answer("a", "b", "c")
    for block in blocks[:4]:
        played.body.feed(block)
    assert (played.owner.calls, played.owner.frames) == ([], [])
    for block in blocks[4:]:
        played.body.feed(block)
    assert played.owner.calls == ["content", "complete"]
    assert played.owner.frames + played.body.closing_frames(None) == blocks


def test_texts_go_the_fast_way_from_the_second_one_on() -> None:
    played, blocks = Played(), [created(0)] + [delta(number, f"t{number}") for number in range(1, 40)]
    for block in blocks[:2]:
        played.body.feed(block)
    taken = [played.body.feed_chunk(encode_chunk(block)) or played.body.feed(block) for block in blocks[2:]]
    assert taken == [True] * 38
    assert played.owner.frames == blocks
    assert played.body.counts.events == len(blocks) - 1


def test_a_text_of_another_item_is_read_in_full_and_learned_anew() -> None:
    played = Played()
    blocks = [created(0), delta(1, "a"), delta(2, "b"), event("response.output_item.added", 3, output_index=1)]
    blocks += [delta(number, "c").replace(b"msg_1", b"msg_2") for number in range(4, 9)]
    for block in blocks:
        played.body.feed_chunk(encode_chunk(block)) or played.body.feed(block)
    assert played.owner.frames == blocks
    assert played.body.counts.events == 7
    assert played.body.feed_chunk(encode_chunk(delta(9, "d").replace(b"msg_1", b"msg_2")))
