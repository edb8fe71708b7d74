"""The shortcut of a read that is one whole transfer chunk, past the response parser."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RivergateError
from gateway.upstream.connection import BodyHandler
from gateway.upstream.response_parser import ResponseState
from gateway.upstream.whole_chunk import replaced, shortcut

from .lines import StandingLine
from .test_response_parser import cut

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
# Data that looks like framing: a reader that loses its place in the chunks takes one of these for a chunk.
LOOKALIKES = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=40),
        st.sampled_from([b"5\r\nhello\r\n", b"\r\n", b"0\r\n\r\n", b"1\r\nx\r\n1\r\ny\r\n", b"a\r\n"]),
    ),
    min_size=1,
    max_size=8,
)


def data_of(read: bytes) -> bytes | None:
    """The data in a read that has the form of exactly one transfer chunk, found in the simplest way."""
    line, separator, rest = read.partition(b"\r\n")
    try:
        size = int(line, 16) if line and line.isalnum() else 0
    except ValueError:
        size = 0
    whole = separator and size and len(rest) == size + 2 and rest.endswith(b"\r\n")
    return rest[:size] if whole else None


class Body:
    """A response whose body arrives in `data`, by the parser or by the shortcut."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.taken = 0

    def take(self, read: bytes) -> bool:
        if (data := data_of(read)) is None:
            return False
        self.data.append(data)
        self.taken += 1
        return True

    def on_head(self, status: int, headers: Mapping[str, str]) -> BodyHandler:
        return self.data.append

    def on_end(self) -> None:
        self.data.append(b"<end>")

    def on_lost(self, error: RivergateError, *, untouched: bool) -> None:
        raise error


@given(LOOKALIKES, st.lists(st.integers(1, 60), max_size=12), st.booleans())
def test_chunks_that_are_taken_whole_change_nothing_wherever_the_reads_fall(
    pieces: list[bytes], sizes: list[int], aligned: bool
) -> None:
    body = Body()
    connection = StandingLine().connection
    connection.send(b"GET / HTTP/1.1\r\n\r\n", body)
    connection.data_received(HEAD)
    connection.deliver_to(body.data.append, body.take)
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [b"first", *pieces]]
    for read in chunks if aligned else list(cut(b"".join(chunks), sizes)):
        connection.data_received(read)
    connection.data_received(b"0\r\n\r\n")
    assert b"".join(body.data) == b"first" + b"".join(pieces) + b"<end>"
    if aligned:
        assert body.taken == len(pieces)


def test_a_read_that_is_one_chunk_of_the_known_shape_is_taken_whole() -> None:
    offered: list[bytes] = []

    def takes(chunk: bytes) -> bool:
        offered.append(chunk)
        return chunk == b"1\r\nb\r\n"

    line = StandingLine()
    recorder = line.ask()
    line.feed(HEAD)
    line.connection.deliver_to(recorder.on_body, takes)
    for read in (
        b"1\r\na\r\n",
        b"1\r\nb\r\n",
        b"1\r\n",
        b"c\r\n",
        b"2\r\nd",
        b"d\r\n",
        b"1\r\ne\r\n",
        b"0\r\n\r\n",
    ):
        line.feed(read)
    # The first read shows where the parser stands; a read in the middle of a chunk is never offered.
    assert offered == [b"1\r\nb\r\n", b"1\r\n", b"2\r\nd", b"1\r\ne\r\n", b"0\r\n\r\n"]
    assert (recorder.body, recorder.ends) == (b"acdde", ["end"])


def test_an_open_shortcut_stays_open_for_the_next_handler_and_a_shut_one_stays_shut() -> None:
    first, second = Body(), Body()
    line = StandingLine()
    recorder = line.ask()
    line.feed(HEAD + b"1\r\na\r\n")
    line.connection.deliver_to(recorder.on_body, first.take)
    line.feed(b"1\r\nb\r\n")  # not offered: no handler was there when the parser stopped between the chunks
    assert first.data == []
    line.connection.deliver_to(recorder.on_body, second.take)
    line.feed(b"1\r\nc\r\n")
    assert second.data == [b"c"]
    line.connection.deliver_to(recorder.on_body)
    line.feed(b"1\r\nd\r\n")
    assert (second.data, recorder.body) == ([b"c"], b"abd")


@pytest.mark.parametrize("last", [b"0\r\n\r\n", b"zz\r\n"])
def test_a_handler_hears_nothing_of_the_next_response(last: bytes) -> None:
    body = Body()
    line = StandingLine()
    recorder = line.ask()
    line.feed(HEAD + b"1\r\na\r\n")
    line.connection.deliver_to(recorder.on_body, body.take)
    line.feed(b"1\r\nb\r\n")
    line.feed(last)
    assert recorder.ends
    line.feed(b"1\r\nc\r\n")
    assert body.data == []


def handler(chunk: bytes) -> bool:
    return True


@pytest.mark.parametrize("state", ResponseState)
def test_the_shortcut_is_open_only_behind_a_read_that_ended_between_two_chunks(state: ResponseState) -> None:
    expected = handler if state is ResponseState.BETWEEN_CHUNKS else None
    assert shortcut(handler, state, b"1\r\na\r\n") is expected
    assert shortcut(handler, state, b"1\r\na\r\n5") is None


def test_a_handler_is_replaced_without_opening_the_shortcut() -> None:
    assert replaced(None, handler) is None
    assert replaced(handler, None) is None
    assert replaced(Body().take, handler) is handler
