"""A body reads the answers of a dialect that is not chat: only the dialect knows how they differ."""

import pytest

from gateway.dialects.dialect import AnswerIdentity, AnswerReport, Dialect
from gateway.dialects.registry import DIALECTS
from gateway.errors import UpstreamError
from gateway.upstream.bodies import StreamBody
from gateway.upstream.whole_body import WholeBody
from gateway.wire.http1 import encode_chunk
from tests.upstream.body_owner import Owner

from .toy import COUNT, END, START, TOY, ToyReader, failure, text

IDENTITY = AnswerIdentity("1", 1, "m")


class Played:
    """A body that was fed with an answer of the toy dialect, and what came of it."""

    def __init__(self, *pieces: bytes, flows: bool = True, hold_finish: bool = False) -> None:
        self.reader = ToyReader(IDENTITY)
        self.owner = Owner(flows=flows)
        self.owner.body = self.body = StreamBody(self.owner, self.reader, hold_finish=hold_finish)
        for piece in pieces:
            self.body.feed(piece)


ANSWER = (START, text("one "), text("two "), text("three"), COUNT, END)
FRAMES = [START, text("one "), text("two "), text("three"), END]


@pytest.mark.parametrize("pieces", [ANSWER, (b"".join(ANSWER),)], ids=["event by event", "at once"])
def test_named_events_are_relayed_as_they_came_and_the_terminal_event_is_the_last(pieces: tuple[bytes, ...]) -> None:
    played = Played(*pieces)
    assert (played.owner.calls, played.owner.frames) == (["content", "complete"], FRAMES)
    assert played.body.over


def test_a_stream_byte_by_byte_is_the_same_stream() -> None:
    played = Played(*(bytes([byte]) for byte in b"".join(ANSWER)))
    assert (played.owner.calls, played.owner.frames) == (["content", "complete"], FRAMES)


def test_what_comes_before_the_first_content_is_held_and_goes_out_with_it_in_order() -> None:
    played = Played(START)
    assert (played.owner.calls, played.owner.frames) == ([], [])
    played.body.feed(text("a"))
    assert (played.owner.calls, played.owner.frames) == (["content"], [START, text("a")])


def test_a_terminal_event_alone_is_content_and_the_end() -> None:
    played = Played(START, END)
    assert (played.owner.calls, played.owner.frames) == (["content", "complete"], [START, END])


def test_an_event_with_its_name_has_a_shape_that_is_learned() -> None:
    played = Played(START, text("one"))
    assert played.body.feed_chunk(encode_chunk(text("two"))), "the first event was learned from"
    assert played.owner.frames[-1] == text("two")
    assert played.reader.counts.events == 2
    assert not played.body.feed_chunk(encode_chunk(END))


def test_usage_is_that_of_the_last_event_that_told_it() -> None:
    early, late = Played(*ANSWER[:3]), Played(*ANSWER)
    assert (early.body.usage(9).prompt_tokens, early.body.usage(9).estimated) == (3, True)
    assert (late.body.usage(9).completion_tokens, late.body.usage(9).estimated) == (2, False)


@pytest.mark.parametrize("hold_finish", [False, True])
def test_a_dialect_without_a_place_for_a_report_adds_no_event(hold_finish: bool) -> None:
    played = Played(*ANSWER, hold_finish=hold_finish)
    closing = played.body.closing_frames(AnswerReport(played.body.usage(0), {"provider": "alpha"}))
    assert played.owner.frames + closing == FRAMES


def test_an_error_of_the_upstream_breaks_the_answer_in_its_words_and_in_ours() -> None:
    played = Played(START, text("one"), failure("out of ink"))
    assert (played.owner.calls, played.owner.frames) == (["content", "broken"], [START, text("one")])
    assert isinstance(played.owner.error, UpstreamError)
    assert played.owner.error.quoted == "out of ink"
    (frame,) = played.body.break_frames(played.owner.error)
    assert frame.startswith(b"event: failure\ndata: {")


def test_a_body_that_ends_too_early_says_what_it_lacks() -> None:
    played = Played(START, text("one"))
    played.body.finish()
    assert played.owner.error is not None
    assert played.owner.error.message == "the upstream ended in mid-stream, with no end"


def test_a_terminal_event_that_the_upstream_left_out_is_among_the_closing_frames() -> None:
    played = Played(*ANSWER[:-1])
    played.body.finish()
    assert played.owner.calls == ["content", "complete"]
    assert played.owner.frames + played.body.closing_frames(None) == FRAMES


def test_a_whole_answer_is_read_by_its_dialect() -> None:
    owner = Owner()
    body = owner.body = WholeBody(owner, TOY, IDENTITY)
    body.feed(b'{"text": "hello", "in": 4, ')
    body.feed(b'"out": 1}')
    body.finish()
    assert owner.calls == ["content", "complete"]
    assert body.document is not None
    assert body.usage(0).completion_tokens == 1
    assert bytes(body.document.encode(AnswerReport(body.usage(0), {"provider": "x"}))).endswith(b'"by":"x"}')


def test_every_registered_dialect_has_a_name_and_paths_of_its_own() -> None:
    dialects: list[Dialect] = [*DIALECTS, TOY]
    for values in ([each.name for each in dialects], [each.path for each in dialects]):
        assert len(set(values)) == len(dialects)
    assert all(each.path.startswith("/v1/") and each.path.endswith(each.upstream_path) for each in dialects)
