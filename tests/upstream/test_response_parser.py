"""The response parser: whole, byte by byte, cut anywhere, with bytes behind the end, and its table."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.response_parser import (
    BEFORE_BODY,
    EVENTS_HEAD,
    IN_BODY,
    MAX_HEAD_BYTES,
    TABLE,
    ResponseHead,
    ResponseInput,
    ResponseParser,
    ResponseState,
)

from .responses import CHUNKED, CLOSE, FRAMED, INTERIM, LENGTH, body_of

GARBAGE = [
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"\x16\x03\x01\x02\x00\x01",
    b"HTTP/1.1 xyz\r\n\r\n",
    b"HTTP/9.9 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
]


def awaiting() -> ResponseParser:
    parser = ResponseParser()
    parser.expect()
    return parser


def read(parser: ResponseParser, reads: Iterator[bytes] | list[bytes]) -> tuple[ResponseHead | None, bytes]:
    """Feed the reads to the parser; returns the head and the body that they brought."""
    head, body = None, b""
    for data in reads:
        parser.feed(data)
        head = parser.take_head() or head
        body += parser.take_body()
    return head, body


def cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """The data in pieces of these sizes, and the rest."""
    start = 0
    for size in sizes:
        if start < len(data):
            yield data[start : start + size]
        start += size
    if start < len(data):
        yield data[start:]


def bytes_of(data: bytes) -> list[bytes]:
    return [data[place : place + 1] for place in range(len(data))]


# --- the head of an event stream, which is read past llhttp

EVENTS = b"Content-Type: text/event-stream; charset=utf-8\r\n"
CHUNKS = b"transfer-encoding: Chunked \r\n"
BODY = b"5\r\nhello\r\n0\r\n\r\n"
BESIDE = [b"Date: a, b\r\n", b"x-request-id:1\r\n", b"Connection: Keep-Alive\r\n", b"Set-Cookie: \r\n", b"Via: a\r\n"]
# Lines that change what the head means, or that llhttp refuses.
ODD = [
    *(b"Connection: close\r\n", b"Connection: keep-alive, close\r\n", b"Proxy-Connection: close\r\n"),
    *(b"Content-Length: 5\r\n", b"Content-Encoding: gzip\r\n", b"Upgrade: x\r\n", b"no colon\r\n", b"a: b\nc: d\r\n"),
    *(b"a : b\r\n", b"a: \x00\r\n", b"a: \xe9\r\n", b"a: b\r\n folded\r\n", b": a\r\n"),
    *(
        EVENTS,
        CHUNKS,
        b"Content-Type: text/plain\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Transfer-Encoding : chunked\r\n",
    ),
]


def outcome(data: bytes, *, singly: bool = False) -> tuple[object, ...]:
    """All that the parser makes of a response, from one read or from a read for each byte of its head."""
    parser = awaiting()
    at = data.index(b"\r\n\r\n") + 4 if singly else 0
    head, body = None, b""
    for piece in [*bytes_of(data[:at]), data[at:]]:
        if parser.state is not ResponseState.BROKEN:  # nothing more is read from a connection that is broken
            parser.feed(piece)
            head, body = parser.take_head() or head, body + parser.take_body()
    told = head and (head[0], head[1].get("transfer-encoding", "").lower().strip())
    kind = head and head[1].get("content-type", "")[:17]
    return told, kind, body, parser.state, parser.error and parser.error.reason


@given(st.permutations([EVENTS, CHUNKS, *BESIDE]))
def test_the_head_of_an_event_stream_is_known_at_one_look_in_any_order_of_its_fields(lines: list[bytes]) -> None:
    data = b"HTTP/1.1 200 OK\r\n" + b"".join(lines) + b"\r\n" + BODY
    parser = awaiting()
    parser.feed(data)
    assert parser.take_head() is EVENTS_HEAD
    assert outcome(data) == outcome(data, singly=True)
    assert parser.state is ResponseState.ENDED


@given(
    st.lists(st.sampled_from([EVENTS, CHUNKS, *BESIDE, *ODD]), max_size=6), st.sampled_from(["OK", "", "\t", "\xe9"])
)
def test_whatever_stands_in_a_head_one_look_finds_what_llhttp_finds(lines: list[bytes], reason: str) -> None:
    data = b"HTTP/1.1 200 %b\r\n%b\r\n%b" % (reason.encode("latin-1"), b"".join(lines), BODY)
    assert outcome(data) == outcome(data, singly=True)


@pytest.mark.parametrize("line", ODD)
def test_a_head_with_an_odd_line_is_not_known_at_one_look(line: bytes) -> None:
    parser = awaiting()
    parser.feed(b"HTTP/1.1 200 OK\r\n" + EVENTS + line + CHUNKS + b"\r\n" + BODY)
    assert parser.head is not EVENTS_HEAD


@pytest.mark.parametrize("line", [b"http/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 201 Created", b"HTTP/1.1 200"])
def test_a_status_line_that_is_not_the_usual_one_is_left_to_llhttp(line: bytes) -> None:
    data = line + b"\r\n" + EVENTS + CHUNKS + b"\r\n" + BODY
    assert outcome(data) == outcome(data, singly=True)
    parser = awaiting()
    parser.feed(data)
    assert parser.head is not EVENTS_HEAD


def test_bytes_behind_an_event_stream_that_is_over_belong_to_no_response() -> None:
    head = b"HTTP/1.1 200 OK\r\n" + EVENTS + CHUNKS + b"\r\n"
    parser = awaiting()
    assert read(parser, [head + BODY + head + BODY]) == (EVENTS_HEAD, b"hello")
    assert parser.state is ResponseState.ENDED_LAST


# --- the response, wherever the reads are cut


@pytest.mark.parametrize("name", FRAMED)
def test_a_response_in_one_read_is_a_head_a_body_and_an_end(name: str) -> None:
    parser = awaiting()
    head, body = read(parser, [FRAMED[name]])
    assert head is not None
    assert (head[1]["x-head"], body) == ("a", body_of(name))
    assert "x-trailer" not in head[1]
    assert (parser.state, parser.error) == (ResponseState.ENDED, None)


@pytest.mark.parametrize("name", FRAMED)
def test_a_response_byte_by_byte_is_the_same_response_and_ends_with_its_last_byte(name: str) -> None:
    whole, parser = awaiting(), awaiting()
    *most, last = bytes_of(FRAMED[name])
    head, body = read(parser, most)
    assert parser.state is not ResponseState.ENDED
    late_head, late_body = read(parser, [last])
    assert (head or late_head, body + late_body) == read(whole, [FRAMED[name]])
    assert parser.state is ResponseState.ENDED


@given(st.sampled_from(sorted(FRAMED)), st.lists(st.integers(1, 60), max_size=12))
def test_a_response_cut_anywhere_is_the_same_response(name: str, sizes: list[int]) -> None:
    whole, parser = awaiting(), awaiting()
    assert read(parser, cut(FRAMED[name], sizes)) == read(whole, [FRAMED[name]])
    assert parser.state is ResponseState.ENDED


@given(st.lists(st.sampled_from(sorted(FRAMED)), min_size=1, max_size=5), st.lists(st.integers(1, 60), max_size=12))
def test_responses_of_one_connection_know_nothing_of_each_other(names: list[str], sizes: list[int]) -> None:
    parser = ResponseParser()
    for name in names:
        parser.expect()
        head, body = read(parser, cut(FRAMED[name], sizes))
        assert head is not None
        assert "x-trailer" not in head[1]
        assert body == body_of(name)
        parser.close()


def test_a_body_that_nothing_frames_ends_with_the_connection() -> None:
    parser = awaiting()
    head, body = read(parser, bytes_of(CLOSE))
    assert (head, body) == ((200, {"x-head": "a"}), b"hello world")
    assert parser.state is ResponseState.BODY_UNTIL_CLOSE
    parser.feed_eof()
    assert parser.state is ResponseState.ENDED_LAST


@pytest.mark.parametrize("name", FRAMED)
def test_the_end_of_the_connection_ends_no_body_that_is_framed(name: str) -> None:
    for size in range(len(FRAMED[name])):
        parser = awaiting()
        parser.feed(FRAMED[name][:size])
        before = parser.state
        parser.feed_eof()
        assert parser.state is before is not ResponseState.ENDED


def test_interim_heads_are_passed_over() -> None:
    parser = awaiting()
    assert read(parser, [INTERIM]) == (None, b"")
    assert parser.state is ResponseState.INTERIM
    assert read(parser, [LENGTH]) == ((200, {"content-length": "11", "x-head": "a"}), b"hello world")


def test_header_fields_that_come_twice_are_joined() -> None:
    parser = awaiting()
    head, _ = read(parser, [b"HTTP/1.1 200 OK\r\nVia: a\r\nVIA: b\r\nContent-Length: 0\r\nvia: c\r\n\r\n"])
    assert head is not None
    assert head[1]["via"] == "a, b, c"


def test_a_head_is_handed_out_once() -> None:
    parser = awaiting()
    parser.feed(LENGTH)
    assert parser.take_head() is not None
    assert parser.take_head() is None


def test_a_burst_of_chunks_goes_on_as_one() -> None:
    parser = awaiting()
    parser.feed(CHUNKED)
    assert parser.pieces == [b"hello", b" ", b"world"]
    assert (parser.take_body(), parser.pieces) == (b"hello world", [])


def test_the_state_tells_whether_the_parser_stands_exactly_between_two_chunks() -> None:
    parser = awaiting()
    parser.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    seen = []
    for data in (b"1\r\na\r\n", b"1\r\n", b"b", b"\r\n", b"2\r\nc", b"c\r\n1\r\nd\r\n", b"0\r\n", b"\r\n"):
        parser.feed(data)
        seen.append(parser.state)
    body, between = ResponseState.BODY, ResponseState.BETWEEN_CHUNKS
    assert seen == [between, body, body, between, body, between, body, ResponseState.ENDED]


# --- bytes behind the end


@pytest.mark.parametrize("extra", [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse", b"HTTP/1.1 2", LENGTH])
@pytest.mark.parametrize("name", FRAMED)
def test_bytes_behind_the_end_are_no_part_of_the_response_and_end_the_connection(name: str, extra: bytes) -> None:
    whole = awaiting()
    expected = read(whole, [FRAMED[name]])
    for reads in ([FRAMED[name] + extra], [FRAMED[name], extra], [*bytes_of(FRAMED[name] + extra)]):
        parser = awaiting()
        assert read(parser, list(reads)) == expected
        assert (parser.state, parser.error) == (ResponseState.ENDED_LAST, None)


@given(st.sampled_from(sorted(FRAMED)), st.binary(max_size=40), st.lists(st.integers(1, 60), max_size=12))
def test_whatever_follows_a_response_its_body_stays_the_same(name: str, extra: bytes, sizes: list[int]) -> None:
    parser = awaiting()
    _, body = read(parser, cut(FRAMED[name] + extra, sizes))
    assert body == body_of(name)
    assert parser.state in (ResponseState.ENDED, ResponseState.ENDED_LAST)


def test_bytes_that_no_request_asked_for_break_the_connection() -> None:
    parser = ResponseParser()
    parser.feed(LENGTH)
    assert (parser.state, parser.head, parser.pieces) == (ResponseState.BROKEN, None, [])


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok and more",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ],
)
def test_the_last_response_of_a_connection_is_known_as_such(response: bytes) -> None:
    parser = awaiting()
    assert read(parser, [response])[1] == b"ok"
    assert parser.state is ResponseState.ENDED_LAST


# --- faults and limits


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_breaks_the_parser_whole_and_byte_by_byte(garbage: bytes) -> None:
    for reads in ([garbage], bytes_of(garbage)):
        parser = awaiting()
        for data in reads:
            parser.feed(data)
            if parser.state is ResponseState.BROKEN:
                break
        assert parser.state is ResponseState.BROKEN
        assert parser.error is not None
        assert "not HTTP/1.1" in parser.error.message


def test_what_was_read_before_a_fault_is_there() -> None:
    parser = awaiting()
    head, body = read(parser, [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n"])
    assert head is not None
    assert (head[0], body, parser.state) == (200, b"hello", ResponseState.BROKEN)


def test_a_switch_of_protocols_is_a_fault() -> None:
    parser = awaiting()
    parser.feed(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello")
    assert (parser.state, parser.head) == (ResponseState.BROKEN, None)
    assert parser.error is not None
    assert "another protocol" in parser.error.message


def test_an_offer_to_upgrade_is_no_upgrade() -> None:
    parser = awaiting()
    offer = b"HTTP/1.1 200 OK\r\nUpgrade: h2,h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nok"
    assert read(parser, [offer])[1] == b"ok"
    assert parser.state is ResponseState.ENDED


def head_of(size: int) -> bytes:
    """A head whose fields have `size` bytes, the framing of each field counted."""
    length = b"Content-Length: 0\r\n"
    fields = [length]
    left = size - len(length)
    while left:
        take = min(left, 8000) if left - min(left, 8000) >= 10 or left <= 8000 else left
        fields.append(b"x: " + b"v" * (take - 5) + b"\r\n")
        left -= take
    return b"".join(fields)


def test_a_head_at_the_limit_is_taken() -> None:
    parser = awaiting()
    parser.feed(b"HTTP/1.1 200 OK\r\n" + head_of(MAX_HEAD_BYTES) + b"\r\n")
    assert parser.state is ResponseState.ENDED


@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_a_head_one_past_the_limit_is_refused(size: int) -> None:
    parser = awaiting()
    head = b"HTTP/1.1 200 OK\r\n" + head_of(MAX_HEAD_BYTES + 1) + b"\r\n"
    for start in range(0, len(head), size):
        parser.feed(head[start : start + size])
        if parser.state is ResponseState.BROKEN:
            break
    assert (parser.state, parser.head) == (ResponseState.BROKEN, None)
    assert parser.error is not None
    assert "head is over" in parser.error.message


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nX-Endless: ", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 "])
def test_a_field_or_reason_that_never_ends_is_refused(start: bytes) -> None:
    parser = awaiting()
    parser.feed(start)
    fed = 0
    while parser.state in BEFORE_BODY and fed < 8 * MAX_HEAD_BYTES:
        parser.feed(b"v" * 4096)
        fed += 4096
    assert (parser.state, parser.head) == (ResponseState.BROKEN, None)
    assert fed <= 2 * MAX_HEAD_BYTES + 4096


@pytest.mark.parametrize(
    "start", [b"0\r\nx-trailer: ", b"0\r\nx", b"5;", b"0"], ids=["value", "name", "extension", "size"]
)
def test_what_stands_between_two_pieces_of_a_body_has_a_limit(start: bytes) -> None:
    parser = awaiting()
    parser.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" + start)
    parser.take_body()
    for _ in range(2 * MAX_HEAD_BYTES // 1000):
        parser.feed(b"0" * 1000)
        assert parser.state in IN_BODY
    parser.feed(b"0" * 1000)
    assert parser.state is ResponseState.BROKEN
    assert "trailers" in str(parser.error)


def test_chunk_lines_that_come_with_their_chunks_do_not_add_up() -> None:
    parser = awaiting()
    parser.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(4):
        parser.feed(b"5;" + b"x" * MAX_HEAD_BYTES)
        parser.feed(b"\r\nhello\r\n")
        assert parser.take_body() == b"hello"
    assert parser.state is ResponseState.BETWEEN_CHUNKS


def test_a_small_head_with_a_large_body_in_one_read_is_taken() -> None:
    parser = awaiting()
    body = b"x" * (4 * MAX_HEAD_BYTES)
    assert read(parser, [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body])[1] == body
    assert parser.state is ResponseState.ENDED


def test_many_interim_heads_do_not_add_up_to_a_head_that_is_too_large() -> None:
    parser = awaiting()
    for _ in range(2 * MAX_HEAD_BYTES // len(INTERIM)):
        parser.feed(INTERIM)
    parser.feed(LENGTH)
    assert parser.state is ResponseState.ENDED


# --- the table

REACHED_BY = {
    ResponseState.IDLE: b"",
    ResponseState.AWAITED: b"",
    ResponseState.HEAD: b"HTTP",
    ResponseState.INTERIM: INTERIM,
    ResponseState.BODY: CHUNKED[: CHUNKED.index(b"hello") + 2],
    ResponseState.BETWEEN_CHUNKS: CHUNKED[: CHUNKED.index(b"hello") + 7],
    ResponseState.BODY_UNTIL_CLOSE: CLOSE,
    ResponseState.ENDED: LENGTH,
    ResponseState.ENDED_LAST: LENGTH + b"x",
    ResponseState.BROKEN: b"x",
}


def in_state(state: ResponseState) -> ResponseParser:
    parser = ResponseParser() if state is ResponseState.IDLE else awaiting()
    if REACHED_BY[state]:
        parser.feed(REACHED_BY[state])
    assert parser.state is state
    return parser


def test_every_state_is_reached_and_every_input_stands_in_the_table() -> None:
    assert set(REACHED_BY) == set(ResponseState)
    assert set(TABLE) == set(ResponseInput)
    assert {after for row in TABLE.values() for after in row.values()} | {ResponseState.IDLE} == set(ResponseState)
    assert not BEFORE_BODY & IN_BODY


@pytest.mark.parametrize("state", ResponseState)
def test_a_close_brings_every_state_back_to_idle_and_keeps_nothing(state: ResponseState) -> None:
    parser = in_state(state)
    parser.close()
    assert (parser.state, parser.head, parser.pieces, parser.error) == (ResponseState.IDLE, None, [], None)
    parser.expect()
    parser.feed(LENGTH)
    assert (parser.take_body(), parser.state) == (b"hello world", ResponseState.ENDED)


@pytest.mark.parametrize("state", [state for state in ResponseState if state is not ResponseState.IDLE])
def test_a_request_is_expected_only_while_the_parser_is_idle(state: ResponseState) -> None:
    with pytest.raises(KeyError):
        in_state(state).expect()


@pytest.mark.parametrize("state", ResponseState)
def test_the_end_of_the_connection_does_what_the_table_says(state: ResponseState) -> None:
    parser = in_state(state)
    parser.feed_eof()
    assert parser.state is TABLE[ResponseInput.EOF].get(state, state)


@pytest.mark.parametrize(
    "state", [*sorted(BEFORE_BODY), ResponseState.BETWEEN_CHUNKS, ResponseState.ENDED, ResponseState.ENDED_LAST]
)
def test_what_cannot_be_read_does_what_the_table_says(state: ResponseState) -> None:
    parser = in_state(state)
    parser.feed(b"\x00 \r\n")
    assert parser.state is TABLE[ResponseInput.FAULT][state]
