"""A view sends the frames of the log, whole and in order, and then the end in the same piece as the last frames.

In a subscription each event has an id, and a `gap` tells how many events were forgotten before it was sent them.
"""

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.pieces import View, next_piece
from gateway.dialects.choices.frames import DONE
from gateway.endings import Ending
from gateway.stream.log import StreamLog
from gateway.stream.view import MAX_PIECE_BYTES, CompletionView, EventsView
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


def chat_log() -> StreamLog:
    return StreamLog("e1", terminal=DONE)


def read_all(view: View, log: StreamLog, seq: int = 0, body_end: bytes = b"") -> tuple[list[bytes], int]:
    """The pieces for a subscriber at `seq`, up to the end of the log, and its position behind them."""
    pieces: list[bytes] = []
    over = False
    while not over and (seq < log.next_seq or log.ending is not None):
        data, seq, over = next_piece(view, seq, body_end)
        pieces.append(bytes(data))
    return pieces, seq


@given(st.lists(FRAMES, max_size=6), st.lists(st.booleans(), min_size=6, max_size=6))
def test_chunked_pieces_parse_back_to_the_frames(batches: list[list[bytes]], reads: list[bool]) -> None:
    log = chat_log()
    view = CompletionView(log, chunked=True)
    client, seq = Client(), 0
    for batch, read in zip(batches, reads, strict=False):
        log.extend(batch)
        if read:
            pieces, seq = read_all(view, log, seq, LAST_CHUNK)
            for piece in pieces:
                client.feed(piece)
    assert not client.complete
    log.close(Ending.COMPLETED)
    pieces, _ = read_all(view, log, seq, LAST_CHUNK)
    for piece in pieces:
        client.feed(piece)
    assert client.complete
    assert client.chunks.pop() == b""
    assert all(chunk.endswith(b"\n\n") for chunk in client.chunks)
    assert b"".join(client.chunks) == b"".join(map(b"".join, batches)) + DONE


@given(FRAMES, st.integers(0, 30))
def test_without_chunks_the_body_is_the_frames_and_done(frames: list[bytes], closed_after: int) -> None:
    log = chat_log()
    view = CompletionView(log, chunked=False)
    log.extend(frames[:closed_after])
    body, seq = read_all(view, log)
    log.extend(frames[closed_after:])
    log.close(Ending.COMPLETED)
    rest, _ = read_all(view, log, seq)
    assert b"".join(body + rest) == b"".join(frames) + DONE


@pytest.mark.parametrize("chunked", [False, True])
def test_the_last_frames_done_and_the_end_are_one_piece(chunked: bool) -> None:
    log = chat_log()
    log.extend([b"data: a\n\n", b"data: b\n\n"])
    log.close(Ending.COMPLETED)
    body = b"data: a\n\ndata: b\n\n" + DONE
    data = b"20\r\n" + body + b"\r\n" if chunked else body
    view = CompletionView(log, chunked=chunked)
    assert view.piece(0) == (data, 2, True)
    assert next_piece(view, 0, LAST_CHUNK) == (data + LAST_CHUNK, 2, True)


def test_the_end_of_a_log_that_was_read_is_done_alone() -> None:
    log = chat_log()
    view = CompletionView(log, chunked=True)
    log.append(b"data: a\n\n")
    assert view.piece(0) == (b"9\r\ndata: a\n\n\r\n", 1, False)
    log.close(Ending.ABANDONED)
    assert view.piece(1) == (b"e\r\ndata: [DONE]\n\n\r\n", 1, True)
    assert next_piece(view, 1, LAST_CHUNK) == (b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n", 1, True)


def test_a_log_that_ends_without_frames_is_done_alone() -> None:
    log = chat_log()
    log.close(Ending.COMPLETED)
    assert CompletionView(log, chunked=False).piece(0) == (DONE, 0, True)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_dialect_without_terminal_bytes_ends_with_its_last_frame(chunked: bool) -> None:
    log = StreamLog("e1")
    view = CompletionView(log, chunked=chunked)
    log.append(b"data: a\n\n")
    log.close(Ending.COMPLETED)
    frame = b"9\r\ndata: a\n\n\r\n" if chunked else b"data: a\n\n"
    assert view.piece(0) == (frame, 1, True)
    assert view.piece(1) == (b"", 1, True)
    assert next_piece(view, 1, LAST_CHUNK) == (LAST_CHUNK, 1, True)


def test_only_the_last_piece_ends_the_body() -> None:
    log = chat_log()
    view = CompletionView(log, chunked=True)
    log.append(b"data: a\n\n")
    assert next_piece(view, 0, LAST_CHUNK) == view.piece(0)
    assert next_piece(view, 1, LAST_CHUNK) == (b"", 1, False)


@pytest.mark.parametrize("chunked", [False, True])
def test_pieces_are_bounded_and_only_the_last_one_ends(chunked: bool) -> None:
    log = chat_log()
    log.extend([b"data: " + b"x" * 992 + b"\n\n"] * 500)
    log.close(Ending.COMPLETED)
    view = CompletionView(log, chunked=chunked)
    pieces, seq = read_all(view, log, body_end=LAST_CHUNK)
    framing = len(DONE) + len(LAST_CHUNK) + len(b"ffffff\r\n\r\n")
    assert seq == 500
    assert len(pieces) == 8
    assert all(len(piece) <= MAX_PIECE_BYTES + framing for piece in pieces)


def test_a_piece_at_the_limit_is_whole_and_one_byte_more_is_the_next_piece() -> None:
    log = chat_log()
    log.extend([b"x" * (MAX_PIECE_BYTES - 10), b"y" * 10, b"z"])
    assert CompletionView(log, chunked=False).piece(0)[1] == 2
    log = chat_log()
    log.extend([b"x" * (MAX_PIECE_BYTES - 10), b"y" * 11, b"z"])
    assert CompletionView(log, chunked=False).piece(0)[1] == 1


def test_a_frame_larger_than_a_piece_goes_out_whole() -> None:
    frame = b"data: " + b"x" * (2 * MAX_PIECE_BYTES) + b"\n\n"
    log = chat_log()
    log.extend([frame, b"data: b\n\n"])
    view = CompletionView(log, chunked=False)
    assert view.piece(0) == (frame, 1, False)
    assert view.piece(1) == (b"data: b\n\n", 2, False)


def test_a_piece_is_made_of_what_is_there_when_it_is_asked_for() -> None:
    log = chat_log()
    view = CompletionView(log, chunked=False)
    log.append(b"a")
    assert view.piece(0) == (b"a", 1, False)
    log.append(b"b")
    assert view.piece(0) == (b"ab", 2, False)
    assert view.piece(1) == (b"b", 2, False)
    log.close(Ending.COMPLETED)
    assert view.piece(1) == (b"b" + DONE, 2, True)


def test_a_keepalive_is_a_comment_in_the_framing_of_the_view() -> None:
    log = chat_log()
    assert CompletionView(log, chunked=False).keepalive == b": keepalive\n\n"
    assert CompletionView(log, chunked=True).keepalive == b"d\r\n: keepalive\n\n\r\n"


# --- subscriptions


def closed_log(*frames: bytes, ending: Ending = Ending.COMPLETED, epoch: str = "e1") -> StreamLog:
    log = StreamLog(epoch)
    log.extend(list(frames))
    log.close(ending)
    return log


def events_of(body: bytes) -> list[sse.Event]:
    return [sse.decode(block) for block in sse.BlockDecoder().feed(body)]


def test_every_event_has_an_id_of_epoch_and_position() -> None:
    log = StreamLog("abc123")
    view = EventsView(log, chunked=False)
    log.append(b"data: a\n\n")
    assert view.piece(0) == (b"data: a\nid: abc123-0\n\n", 1, False)
    log.extend([b"data: b\n\n", b"event: x\ndata: c\n\n"])
    assert view.piece(1) == (b"data: b\nid: abc123-1\n\nevent: x\ndata: c\nid: abc123-2\n\n", 3, False)


@pytest.mark.parametrize("ending", list(Ending))
def test_the_last_event_tells_the_ending_and_has_an_id_too(ending: Ending) -> None:
    data, seq, over = EventsView(closed_log(b"data: a\n\n", ending=ending), chunked=False).piece(1)
    assert data == b'event: end\ndata: {"ending":"%b"}\nid: e1-1\n\n' % ending.encode()
    assert (seq, over) == (1, True)


def test_the_end_comes_in_one_piece_with_the_last_events_and_ends_the_body() -> None:
    log = closed_log(b"data: a\n\n", b"data: b\n\n")
    plain = bytes(EventsView(log, chunked=False).piece(0)[0])
    chunked, seq, over = next_piece(EventsView(log, chunked=True), 0, LAST_CHUNK)
    assert [event.id for event in events_of(plain)] == [b"e1-0", b"e1-1", b"e1-2"]
    assert chunked == b"%x\r\n%b\r\n" % (len(plain), plain) + LAST_CHUNK
    assert (seq, over) == (2, True)


def test_a_subscription_has_no_done() -> None:
    assert DONE not in bytes(EventsView(closed_log(b"data: a\n\n"), chunked=False).piece(0)[0])


@pytest.mark.parametrize("chunked", [False, True])
def test_behind_the_end_event_there_is_nothing(chunked: bool) -> None:
    log = closed_log(b"data: a\n\n")
    assert EventsView(log, chunked=chunked).piece(2) == (b"", 2, False)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_subscriber_that_has_read_all_is_sent_nothing_until_more_comes(chunked: bool) -> None:
    log = StreamLog("e1")
    view = EventsView(log, chunked=chunked)
    assert view.piece(0) == (b"", 0, False)
    log.extend([b"data: a\n\n", b"data: b\n\n"])
    assert view.piece(2) == (b"", 2, False)


@pytest.mark.parametrize(("kept", "appended"), [(1, 4), (2, 4), (0, 4)])
def test_a_gap_tells_how_many_events_were_forgotten(kept: int, appended: int) -> None:
    log = StreamLog("e1")
    log.extend([b"data: %d\n\n" % n for n in range(appended)])
    log.trim(appended - kept)
    data, seq, _ = EventsView(log, chunked=False).piece(1)
    gap, *rest = events_of(bytes(data))
    assert (gap.name, gap.data, gap.id) == (b"gap", b'{"missed":%d}' % (appended - kept - 1), None)
    assert [event.id for event in rest] == [b"e1-%d" % n for n in range(appended - kept, appended)]
    assert seq == appended


def test_a_gap_before_the_end_is_told_with_it() -> None:
    log = closed_log(b"data: a\n\n", b"data: b\n\n")
    log.trim(2)
    data, seq, over = EventsView(log, chunked=False).piece(0)
    assert [(event.name, event.data) for event in events_of(bytes(data))] == [
        (b"gap", b'{"missed":2}'),
        (b"end", b'{"ending":"completed"}'),
    ]
    assert (seq, over) == (2, True)


def test_at_the_first_event_that_is_kept_there_is_no_gap() -> None:
    log = StreamLog("e1")
    log.extend([b"data: %d\n\n" % n for n in range(4)])
    log.trim(2)
    assert EventsView(log, chunked=False).piece(2)[0] == b"data: 2\nid: e1-2\n\ndata: 3\nid: e1-3\n\n"


def test_one_event_behind_a_gap_is_told_with_the_gap() -> None:
    log = StreamLog("e1")
    log.append(b"data: a\n\n")
    log.trim(1)
    assert EventsView(log, chunked=False).piece(0) == (b'event: gap\ndata: {"missed":1}\n\n', 1, False)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_farewell_is_an_end_event_without_an_id(chunked: bool) -> None:
    data = EventsView(StreamLog("e1"), chunked=chunked).farewell(Ending.EXPIRED)
    event = b'event: end\ndata: {"ending":"expired"}\n\n'
    assert data == (b"%x\r\n%b\r\n" % (len(event), event) if chunked else event)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_post_client_is_never_told_a_false_done(chunked: bool) -> None:
    assert CompletionView(StreamLog("e1"), chunked=chunked).farewell(Ending.EXPIRED) == b""


def test_a_keepalive_of_a_subscription_is_a_comment_without_a_blank_line() -> None:
    assert EventsView(StreamLog("e1"), chunked=False).keepalive == b": keepalive\n"
    assert EventsView(StreamLog("e1"), chunked=True).keepalive == b"c\r\n: keepalive\n\r\n"


def test_a_keepalive_that_is_an_event_stays_one() -> None:
    ping = b"event: ping\ndata: {}\n\n"
    assert EventsView(StreamLog("e1", keepalive=ping), chunked=False).keepalive == ping


@pytest.mark.parametrize("name", ["gap", "end"])
def test_a_control_event_has_another_name_once_the_source_uses_its_own(name: str) -> None:
    log = closed_log(b"data: a\n\n", b"data: b\n\n")
    log.trim(1)
    log.avoid(name)
    names = [event.name for event in events_of(bytes(EventsView(log, chunked=False).piece(0)[0])) if event.name]
    other = {"gap": b"end", "end": b"gap"}[name]
    assert sorted(names) == sorted([other, b"rivergate." + name.encode()])


def test_large_events_are_sent_in_bounded_pieces() -> None:
    log = closed_log(*[b"data: " + b"x" * 992 + b"\n\n"] * 500)
    pieces, seq = read_all(EventsView(log, chunked=False), log)
    assert (seq, len(pieces)) == (500, 8)
    assert [event.id for event in events_of(b"".join(pieces))] == [b"e1-%d" % n for n in range(501)]


@given(FRAMES, st.integers(0, 30), st.integers(0, 30), st.booleans())
def test_what_a_subscriber_is_sent_is_the_log_from_its_position(
    frames: list[bytes], start: int, closed_after: int, chunked: bool
) -> None:
    log = StreamLog("e1")
    view = EventsView(log, chunked=chunked)
    log.extend(frames[:closed_after])
    seq = min(start, log.next_seq)
    before, middle = read_all(view, log, seq)
    log.extend(frames[closed_after:])
    log.close(Ending.COMPLETED)
    after, _ = read_all(view, log, middle, LAST_CHUNK if chunked else b"")
    body = b"".join(before + after)
    if chunked:
        client = Client()
        client.feed(body)
        assert client.complete
        body = b"".join(client.chunks)
    expected = b"".join(b"%bid: e1-%d\n\n" % (frame[:-1], n) for n, frame in enumerate(frames) if n >= seq)
    assert body == expected + b'event: end\ndata: {"ending":"completed"}\nid: e1-%d\n\n' % len(frames)
