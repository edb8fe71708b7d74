"""The bodies of answers, fed piece by piece without a socket or a clock, and the calls that their owner gets."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import AnswerIdentity, AnswerReport
from gateway.errors import CostExceeded, UpstreamError
from gateway.upstream import whole_body
from gateway.upstream.bodies import MAX_HELD_BYTES, StreamBody
from gateway.upstream.whole_body import WholeBody
from gateway.wire.sse import MAX_EVENT_BYTES

from .body_owner import Owner
from .kit import DONE, FINISH, ROLE, event, word

TEXT = [ROLE, word("one "), word("two "), word("thr\u00e9e"), FINISH, DONE]
ERROR_EVENT = b'data: {"error": {"message": "broken", "type": "x", "code": null}}\n\n'


IDENTITY = AnswerIdentity("1", 1, "m")


def stream(*, flows: bool = True, **more: Any) -> tuple[StreamBody, Owner]:
    owner = Owner(flows=flows)
    owner.body = StreamBody(owner, CHAT.reader(IDENTITY), **more)
    return owner.body, owner


def take(body: StreamBody, data: bytes) -> None:
    """Feed the bytes to the body, and do all that they leave to do."""
    for _ in body.feed(data) or ():
        pass


def play(pieces: list[bytes], *, finish: bool = True, **more: Any) -> Owner:
    body, owner = stream(**more)
    for piece in pieces:
        if body.over:
            break
        take(body, piece)
    if finish:
        body.finish()
    return owner


# --- streams


@given(st.lists(st.integers(0, len(b"".join(TEXT)))))
def test_a_stream_cut_anywhere_is_the_same_stream(cuts: list[int]) -> None:
    data = b"".join(TEXT)
    edges = [0, *sorted(cuts), len(data)]
    owner = play([data[start:end] for start, end in pairwise(edges) if end > start])
    assert owner.calls == ["content", "complete"]
    assert owner.frames == TEXT[:-1]


def test_a_stream_byte_by_byte_is_the_same_stream() -> None:
    owner = play([bytes([byte]) for byte in b"".join(TEXT)])
    assert (owner.calls, owner.frames) == (["content", "complete"], TEXT[:-1])


def test_a_conforming_event_is_relayed_as_the_bytes_that_came() -> None:
    body, owner = stream()
    piece = word("a")
    body.feed(ROLE)
    body.feed(word("b"))
    body.feed(word("c"))
    body.feed(piece)
    assert owner.frames[-1] == piece


def test_nothing_is_told_before_the_first_content() -> None:
    body, owner = stream()
    body.feed(ROLE)
    body.feed(b": ping\n\n")
    body.feed(event({"content": ""}))
    assert (owner.calls, owner.frames) == ([], [])
    body.feed(word("a"))
    assert owner.calls == ["content"]
    assert len(owner.frames) == 3


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "a"},
        {"reasoning_content": "a"},
        {"reasoning": "a"},
        {"refusal": "a"},
        {"tool_calls": [{"index": 0, "function": {"arguments": ""}}]},
    ],
)
def test_every_kind_of_delta_that_a_client_waits_for_is_content(delta: Mapping[str, Any]) -> None:
    assert play([ROLE, event(delta)], finish=False).calls == ["content"]


def test_a_finish_alone_is_content_too() -> None:
    owner = play([ROLE, FINISH, DONE])
    assert (owner.calls, owner.frames) == (["content", "complete"], [ROLE, FINISH])


def test_a_finish_that_is_held_is_not_relayed_unless_another_event_follows() -> None:
    body, owner = stream(hold_finish=True)
    body.feed(b"".join(TEXT))
    assert owner.frames == TEXT[:-2]
    assert body.finish_frame == FINISH


def test_frames_wait_until_they_may_flow() -> None:
    body, owner = stream(flows=False)
    for piece in TEXT[:3]:
        body.feed(piece)
    assert owner.frames == []
    body.flow_to(owner)
    assert owner.frames == TEXT[:3]
    body.feed(TEXT[3])
    assert owner.frames == TEXT[:4]


@pytest.mark.parametrize("pieces", [[b"".join(TEXT)], TEXT], ids=["at once", "one by one"])
@pytest.mark.parametrize("flows", [True, False])
def test_every_event_moves_the_count(pieces: list[bytes], flows: bool) -> None:
    body, _ = stream(flows=flows)
    before = -1
    for piece in pieces:
        if piece == DONE:
            break
        body.feed(piece)
        assert body.events > before
        before = body.events


@pytest.mark.parametrize("size", [0, 1])
def test_what_is_held_has_a_limit(size: int) -> None:
    body, owner = stream()
    filler = event({"content": "", "x": "y" * 1000})
    fitting = (MAX_HELD_BYTES - len(ROLE)) // len(filler)
    rest = MAX_HELD_BYTES - len(ROLE) - fitting * len(filler)
    body.feed(ROLE)
    for _ in range(fitting - 1):
        body.feed(filler)
    body.feed(event({"content": "", "x": "y" * (1000 + rest + size)}))
    assert owner.calls == (["broken"] if size else [])


def test_content_that_comes_behind_more_than_can_be_held_is_none() -> None:
    body, owner = stream()
    filler = event({"content": "", "x": "y" * 1000})
    fitting = (MAX_HELD_BYTES - len(ROLE)) // len(filler)
    take(body, ROLE + filler * (fitting + 1))
    body.feed(word("x" * 1000))
    assert owner.calls == ["broken"]


def test_the_first_content_may_be_as_large_as_an_event_may_be() -> None:
    image = word("x" * (MAX_EVENT_BYTES - len(word(""))))
    assert len(image) == MAX_EVENT_BYTES
    assert play([ROLE, image, FINISH, DONE]).frames == [ROLE, image, FINISH]


def test_an_event_that_is_too_large_breaks_the_stream() -> None:
    owner = play([b"data: " + b"x" * MAX_EVENT_BYTES])
    assert owner.calls == ["broken"]
    assert owner.error is not None
    assert "bytes" in owner.error.message


@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        ([], ["broken"]),
        ([ROLE], ["broken"]),
        ([DONE], ["broken"]),
        ([ROLE, DONE], ["broken"]),
        ([ROLE, word("a")], ["content", "broken"]),
        ([ROLE, word("a"), DONE], ["content", "complete"]),
        ([ROLE, word("a"), b"data: [DONE]"], ["content", "complete"]),
        ([ROLE, word("a"), b"data: [DONE]\n"], ["content", "complete"]),
        ([ROLE, word("a"), b"data: [DON"], ["content", "broken"]),
        ([ROLE, word("a"), word("b")[:-1]], ["content", "broken"]),
        ([ROLE, word("a"), FINISH], ["content", "complete"]),
        ([ROLE, word("a"), FINISH, word("b")[:20]], ["content", "complete"]),
        ([ROLE, word("a"), FINISH[:-1]], ["content", "broken"]),
        ([ERROR_EVENT], ["broken"]),
        ([ROLE, word("a"), ERROR_EVENT], ["content", "broken"]),
        ([ROLE, word("a"), FINISH, ERROR_EVENT], ["content", "broken"]),
        ([ROLE, word("a"), b"data: not json\n\n"], ["content", "broken"]),
        ([ROLE, word("a"), b"data: 17\n\n"], ["content", "broken"]),
        ([ROLE, word("a"), b'data: {"choices": [7]}\n\n'], ["content", "broken"]),
        ([ROLE, word("a"), b"event: ping\n\n", b"data:\n\n"], ["content", "broken"]),
    ],
)
def test_an_end_is_told_once_and_as_what_it_is(pieces: list[bytes], calls: list[str]) -> None:
    assert play(pieces).calls == calls
    assert play([b"".join(pieces)] if pieces else []).calls == calls


def test_two_choices_are_over_when_both_are() -> None:
    def choice(index: int, finish: str | None) -> bytes:
        chunk = {"index": index, "delta": {"content": "" if finish else "x"}, "finish_reason": finish}
        return b"data: " + orjson.dumps({"id": "c", "choices": [chunk]}) + b"\n\n"

    opened = [choice(0, None), choice(1, None), choice(0, "stop")]
    assert play(opened).calls == ["content", "broken"]
    assert play([*opened, choice(1, "stop")]).calls == ["content", "complete"]


def test_content_before_an_error_in_the_same_read_is_relayed_first() -> None:
    owner = play([ROLE + word("a") + word("b") + ERROR_EVENT + word("c")])
    assert owner.calls == ["content", "broken"]
    assert owner.frames == [ROLE, word("a"), word("b")]


def test_nothing_flows_after_the_body_was_declared_over() -> None:
    body, owner = stream()

    def on_content() -> None:
        body.over = True

    owner.on_content = on_content  # type: ignore[method-assign]
    body.feed(b"".join(TEXT))
    body.finish()
    assert (owner.calls, owner.frames) == ([], [])


# --- whole completions


def whole(data: bytes) -> Owner:
    owner = Owner()
    owner.body = WholeBody(owner, CHAT, IDENTITY)
    for start in range(0, len(data), 7):
        owner.body.feed(data[start : start + 7])
    for _ in range(2):
        for _ in owner.body.finish() or ():
            pass
    return owner


def test_a_completion_is_made_fit_for_strict_clients() -> None:
    owner = whole(
        b'{"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}'
    )
    assert owner.calls == ["content", "complete"]
    usage = owner.body.usage(0)
    completion = orjson.loads(owner.body.document.encode(AnswerReport(usage, {"provider": "alpha"})))
    assert completion["choices"][0]["message"]["role"] == "assistant"
    assert (completion["id"], completion["object"]) == ("chatcmpl-1", "chat.completion")
    assert completion["usage"] == usage.as_json() == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert completion["routing_metadata"] == {"provider": "alpha"}


def test_the_tokens_of_a_completion_without_usage_are_estimated_by_its_text() -> None:
    body = whole(b'{"choices": [{"message": {"content": "%b"}}]}' % (b"x" * 400)).body
    assert body.usage(7).estimated
    assert (body.usage(7).prompt_tokens, body.usage(7).completion_tokens) == (7, 100)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b'{"choices": 3}',
        b'{"choices": [3]}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"error": {"message": "no"}}',
        b'{"detail": "no"}',
        b'{"type": "error", "message": "no"}',
    ],
)
def test_what_is_no_completion_is_a_failure_told_once(data: bytes) -> None:
    owner = whole(data)
    assert owner.calls == ["broken"]
    assert isinstance(owner.error, UpstreamError)


@pytest.mark.parametrize(("size", "calls"), [(100, []), (101, ["broken"])])
def test_a_completion_has_a_limit(monkeypatch: pytest.MonkeyPatch, size: int, calls: list[str]) -> None:
    monkeypatch.setattr(whole_body, "MAX_COMPLETION_BYTES", 100)
    owner = Owner()
    body = WholeBody(owner, CHAT, IDENTITY)
    body.feed(b"x" * size)
    assert owner.calls == calls
    body.feed(b"")
    assert owner.calls == calls


def test_a_completion_that_costs_too_much_is_the_answer_and_is_not_read_on() -> None:
    owner, requests = Owner(), list[int]()

    def is_spent(size: int) -> bool:
        requests.append(size)
        return size > 30

    owner.body = body = WholeBody(owner, CHAT, IDENTITY, is_spent)
    for _ in range(5):
        body.feed(b"x" * 10)
    body.finish()
    assert requests == [10, 20, 30, 40]
    assert owner.calls == ["content", "broken"]  # the content is reported, so that the answer is billed
    assert isinstance(owner.error, CostExceeded)
    assert body.usage(0).completion_tokens == 13  # 50 bytes at four bytes a token


@pytest.mark.parametrize("read_bytes", [1000, 65536])
def test_images_in_an_answer_do_not_count_as_its_text(read_bytes: int) -> None:
    owner, sizes = Owner(), list[int]()

    def is_spent(size: int) -> bool:
        sizes.append(size)
        return False

    owner.body = body = WholeBody(owner, CHAT, IDENTITY, is_spent)
    text, image = b'{"text": "one two three, ' * 1000, b"iVBORw0KGgo" * 100_000
    content = text + b'{"url": "data:image/png;base64,' + image
    for start in range(0, len(content), read_bytes):
        body.feed(content[start : start + read_bytes])
    assert len(text) <= sizes[-1] <= len(text) + 3 * 4096
    assert body.usage(0).completion_tokens == -(-sizes[-1] // 4)


LONG = [ROLE, word("A" * 100_000), word("B" * 100_000), FINISH, DONE]


def test_long_events_in_the_place_of_a_completion_are_joined_in_steps() -> None:
    owner = Owner()
    owner.body = body = WholeBody(owner, CHAT, IDENTITY)
    steps = body.feed(b"".join(LONG))
    assert steps is not None
    assert owner.calls == []
    assert len(list(steps)) > 3
    assert owner.calls == ["content", "complete"]
    assert body.document is not None
    answer = orjson.loads(bytes(body.document.encode(AnswerReport(body.usage(0), {}))))
    assert answer["choices"][0]["message"]["content"] == "A" * 100_000 + "B" * 100_000


@pytest.mark.parametrize("done", range(5))
def test_events_that_nobody_waits_for_any_more_are_not_joined_on(done: int) -> None:
    owner = Owner()
    owner.body = body = WholeBody(owner, CHAT, IDENTITY)
    steps = body.feed(b"".join(LONG))
    assert steps is not None
    for _ in range(done):
        next(steps)
    body.stop()
    body.release()
    assert len(list(steps)) < 3
    assert owner.calls == []


def test_events_that_cost_too_much_are_the_answer_and_are_not_joined_on() -> None:
    owner = Owner()
    owner.body = body = WholeBody(owner, CHAT, IDENTITY, lambda size: size > 3)
    for _ in body.feed(ROLE + word("one ") + word("A" * 100_000)) or ():
        pass
    assert body.feed(word("x")) is None
    assert owner.calls == ["content", "broken"]
    assert isinstance(owner.error, CostExceeded)


class Unasking(Owner):
    """An owner that hears of the end, and has not asked for the last frames."""

    def on_complete(self) -> None:
        self.calls.append("complete")


def ended() -> tuple[StreamBody, Owner]:
    owner = Unasking()
    owner.body = body = StreamBody(owner, CHAT.reader(IDENTITY))
    take(body, ROLE + word("a"))
    take(body, word("b") + FINISH + DONE)
    assert (owner.calls, owner.frames) == (["content", "complete"], [ROLE, word("a")])
    return body, owner


def test_frames_that_came_with_the_end_are_given_once_with_what_closes_or_breaks_the_stream() -> None:
    body, _ = ended()
    assert body.closing_frames(None) == [word("b"), FINISH]
    assert body.closing_frames(None) == []
    body, _ = ended()
    assert body.break_frames(UpstreamError("broken"))[:2] == [word("b"), FINISH]
    body, owner = ended()
    body.deliver_last()
    assert owner.frames == [ROLE, word("a"), word("b"), FINISH]
    assert body.closing_frames(None) == []
