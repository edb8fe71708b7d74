"""Pieces that are too long to be joined."""

import pytest

from gateway.delivery.long_piece import LongPiece, rest_of

PIECE = LongPiece([b"ab", b"", b"cde"])


def test_bytes_can_be_added_at_both_ends() -> None:
    longer = b"<" + PIECE + b">"
    assert bytes(longer) == b"<abcde>"
    assert len(longer) == 7


@pytest.mark.parametrize("sent", range(6))
def test_the_rest_is_what_was_not_sent(sent: int) -> None:
    assert b"".join(rest_of(PIECE, sent)) == b"abcde"[sent:] == b"".join(rest_of(b"abcde", sent))
