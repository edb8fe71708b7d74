"""The first bytes of a body tell whether it is a stream of events."""

import pytest

from gateway.upstream.body_kind import UndecidedBody, begins_events

EVENTS = [
    b"data: x",
    b"data:x",
    b"event: x",
    b"id:1",
    b"retry: 1",
    b": x",
    b"\xef\xbb\xbfdata: x",
    b"\r\n\n data: x",
    b' {"a"',
]
OTHERS = [b"<html>", b"[1]", b"datum: x", b"HTTP/1.1", b"\x1f\x8b\x08\x00", b"dat\n", b"Internal Server Error"]


@pytest.mark.parametrize("body", [*EVENTS, *OTHERS])
def test_a_body_is_known_by_its_first_bytes_wherever_they_are_cut(body: bytes) -> None:
    said = [begins_events(body[:end]) for end in range(len(body) + 1)]
    known = [answer for answer in said if answer is not None]
    assert set(known) == {body in EVENTS}
    assert said[: len(said) - len(known)] == [None] * (len(said) - len(known))  # once it is known, it stays known


@pytest.mark.parametrize("body", [*EVENTS, *OTHERS])
def test_the_handler_gets_all_bytes_once(body: bytes) -> None:
    taken: dict[bool, bytearray] = {True: bytearray(), False: bytearray()}
    undecided = UndecidedBody(lambda are_events: taken[are_events].extend)
    for byte in body + b" and more":
        undecided.feed(bytes([byte]))
    assert taken[body in EVENTS] == body + b" and more"
    assert not taken[body not in EVENTS]


def test_a_body_of_blanks_is_taken_for_something_else_in_the_end() -> None:
    taken: dict[bool, bytearray] = {True: bytearray(), False: bytearray()}
    UndecidedBody(lambda are_events: taken[are_events].extend).feed(b" " * 65536)
    assert (len(taken[True]), len(taken[False])) == (0, 65536)
