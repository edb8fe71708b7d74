"""What readers are sent is the frames of the log, whole, in order, and then the end in the same piece."""

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Ending
from gateway.stream.log import StreamLog
from gateway.stream.view import MAX_PIECE_BYTES, CompletionView
from gateway.wire import sse
from gateway.wire.http1 import LAST_CHUNK

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FRAMES = st.lists(st.binary(max_size=40).map(lambda raw: sse.frame(raw.replace(b"\n", b"\\n"))), max_size=30)


class Client:
    """The body as an HTTP/1.1 client parses it, transfer chunk by transfer chunk."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.complete = False
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(HEAD)

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_chunk_header(self) -> None:
        self.chunks.append(b"")

    def on_body(self, body: bytes) -> None:
        self.chunks[-1] += body

    def on_message_complete(self) -> None:
        self.complete = True


def read_all(view: CompletionView, log: StreamLog, seq: int = 0) -> tuple[list[bytes], int]:
    """The pieces that are there for a reader at `seq`, and where it stands then."""
    pieces: list[bytes] = []
    last = False
    while not last and (seq < log.next_seq or log.ending is not None):
        data, seq, last = view.piece(seq)
        pieces.append(data)
    return pieces, seq


@given(st.lists(FRAMES, max_size=6), st.lists(st.booleans(), min_size=6, max_size=6))
def test_chunked_pieces_parse_back_to_the_frames(batches: list[list[bytes]], reads: list[bool]) -> None:
    log = StreamLog("e1")
    view = CompletionView(log, chunked=True)
    client, seq = Client(), 0
    for batch, read in zip(batches, reads, strict=False):
        log.extend(batch)
        if read:
            pieces, seq = read_all(view, log, seq)
            for piece in pieces:
                client.feed(piece)
    assert not client.complete
    log.close(Ending.COMPLETED)
    pieces, _ = read_all(view, log, seq)
    for piece in pieces:
        client.feed(piece)
    assert client.complete
    assert client.chunks.pop() == b""
    assert all(chunk.endswith(b"\n\n") for chunk in client.chunks)
    assert b"".join(client.chunks) == b"".join(map(b"".join, batches)) + sse.DONE


@given(FRAMES, st.integers(0, 30))
def test_without_chunks_the_body_is_the_frames_and_done(frames: list[bytes], closed_after: int) -> None:
    log = StreamLog("e1")
    view = CompletionView(log, chunked=False)
    log.extend(frames[:closed_after])
    body, seq = read_all(view, log)
    log.extend(frames[closed_after:])
    log.close(Ending.COMPLETED)
    rest, _ = read_all(view, log, seq)
    assert b"".join(body + rest) == b"".join(frames) + sse.DONE


@pytest.mark.parametrize("chunked", [False, True])
def test_the_last_frames_done_and_the_end_are_one_piece(chunked: bool) -> None:
    log = StreamLog("e1")
    log.extend([b"data: a\n\n", b"data: b\n\n"])
    log.close(Ending.COMPLETED)
    data, next_seq, last = CompletionView(log, chunked=chunked).piece(0)
    body = b"data: a\n\ndata: b\n\n" + sse.DONE
    assert data == (b"20\r\n" + body + b"\r\n" + LAST_CHUNK if chunked else body)
    assert (next_seq, last) == (2, True)


def test_the_end_of_a_log_that_was_read_is_done_alone() -> None:
    log = StreamLog("e1")
    view = CompletionView(log, chunked=True)
    log.append(b"data: a\n\n")
    assert view.piece(0) == (b"9\r\ndata: a\n\n\r\n", 1, False)
    log.close(Ending.ABANDONED)
    assert view.piece(1) == (b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n", 1, True)


def test_a_log_that_ends_without_frames_is_done_alone() -> None:
    log = StreamLog("e1")
    log.close(Ending.COMPLETED)
    assert CompletionView(log, chunked=False).piece(0) == (sse.DONE, 0, True)


@pytest.mark.parametrize("chunked", [False, True])
def test_pieces_are_bounded_and_only_the_last_one_ends(chunked: bool) -> None:
    log = StreamLog("e1")
    log.extend([b"data: " + b"x" * 992 + b"\n\n"] * 500)
    log.close(Ending.COMPLETED)
    view = CompletionView(log, chunked=chunked)
    pieces, seq = read_all(view, log)
    framing = len(sse.DONE) + len(LAST_CHUNK) + len(b"ffffff\r\n\r\n")
    assert seq == 500
    assert len(pieces) == 8
    assert all(len(piece) <= MAX_PIECE_BYTES + framing for piece in pieces)


def test_a_piece_at_the_limit_is_whole_and_one_byte_more_is_the_next_piece() -> None:
    log = StreamLog("e1")
    log.extend([b"x" * (MAX_PIECE_BYTES - 10), b"y" * 10, b"z"])
    assert CompletionView(log, chunked=False).piece(0)[1] == 2
    log = StreamLog("e1")
    log.extend([b"x" * (MAX_PIECE_BYTES - 10), b"y" * 11, b"z"])
    assert CompletionView(log, chunked=False).piece(0)[1] == 1


def test_a_frame_larger_than_a_piece_goes_out_whole() -> None:
    frame = b"data: " + b"x" * (2 * MAX_PIECE_BYTES) + b"\n\n"
    log = StreamLog("e1")
    log.extend([frame, b"data: b\n\n"])
    view = CompletionView(log, chunked=False)
    assert view.piece(0) == (frame, 1, False)
    assert view.piece(1) == (b"data: b\n\n", 2, False)


def test_a_piece_is_made_of_what_is_there_when_it_is_asked_for() -> None:
    log = StreamLog("e1")
    view = CompletionView(log, chunked=False)
    log.append(b"a")
    assert view.piece(0) == (b"a", 1, False)
    log.append(b"b")
    assert view.piece(0) == (b"ab", 2, False)
    assert view.piece(1) == (b"b", 2, False)
    log.close(Ending.COMPLETED)
    assert view.piece(1) == (b"b" + sse.DONE, 2, True)


def test_a_keepalive_is_a_comment_in_the_framing_of_the_view() -> None:
    log = StreamLog("e1")
    assert CompletionView(log, chunked=False).keepalive == b": keepalive\n\n"
    assert CompletionView(log, chunked=True).keepalive == b"d\r\n: keepalive\n\n\r\n"
