"""One connection against a raw peer: heads, bodies, ends, faults."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.connection import MAX_HEAD_BYTES, Connection

from .fakes import Line, Recorder, passes, reset, until

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Head: a\r\n\r\n"
    b'5;name=value;q="a b"\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nX-Trailer: t\r\n\r\n'
)
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nX-Head: a\r\n\r\nhello world"
CLOSE = b"HTTP/1.1 200 OK\r\nX-Head: a\r\n\r\nhello world"
EMPTY = b"HTTP/1.1 204 No Content\r\nX-Head: a\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\nX-Head: no\r\n\r\n"
FRAMED = {
    "chunked": CHUNKED,
    "length": LENGTH,
    "204": EMPTY,
    "interim": INTERIM + CHUNKED,
    "empty": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Head: a\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\nX-Head: a\r\n\r\n",
}


def body_of(name: str) -> bytes:
    return b"hello world" if name in ("chunked", "length", "interim", "close") else b""


@pytest.mark.parametrize("name", FRAMED)
async def test_a_response_cut_anywhere_is_the_same_response(name: str) -> None:
    response = FRAMED[name]
    async with Line.open() as line:
        for cut in range(1, len(response)):
            recorder = line.ask()
            line.connection.data_received(response[:cut])
            assert not recorder.ends
            line.connection.data_received(response[cut:])
            assert (recorder.body, recorder.ends) == (body_of(name), ["end"])
            assert recorder.headers["x-head"] == "a"
            assert "x-trailer" not in recorder.headers
        assert len(line.idle) == len(response) - 1


@pytest.mark.parametrize("name", FRAMED)
async def test_a_response_byte_by_byte_is_the_same_response(name: str) -> None:
    async with Line.open() as line:
        recorder = line.ask()
        for byte in FRAMED[name]:
            assert not recorder.ends
            line.connection.data_received(bytes([byte]))
        assert (recorder.body, recorder.ends) == (body_of(name), ["end"])
        assert line.idle == [line.connection]


async def test_a_head_that_comes_over_the_wire_is_told_in_lower_case() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.peer.sendall(LENGTH)
        await until(lambda: recorder.ends)
        assert line.peer.recv(100) == b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        assert (recorder.status, recorder.headers) == (200, {"content-length": "11", "x-head": "a"})


async def test_interim_answers_are_passed_over() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.connection.data_received(INTERIM)
        assert recorder.calls == []
        line.connection.data_received(LENGTH)
        assert (recorder.status, recorder.calls) == (200, ["head", "body", "end"])
        assert recorder.headers == {"content-length": "11", "x-head": "a"}


async def test_a_close_delimited_body_ends_with_the_connection() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.peer.sendall(CLOSE)
        line.hang_up()
        await until(lambda: line.lost)
        assert (recorder.body, recorder.ends, line.idle) == (b"hello world", ["end"], [])


async def test_a_close_delimited_body_that_is_reset_is_lost() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.peer.sendall(CLOSE)
        await until(lambda: recorder.body)
        reset(line.peer)
        await until(lambda: line.lost)
        assert (recorder.ends, recorder.untouched) == (["lost"], False)


async def test_headers_that_come_twice_are_joined() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.connection.data_received(b"HTTP/1.1 200 OK\r\nVia: a\r\nVIA: b\r\nContent-Length: 0\r\nvia: c\r\n\r\n")
        assert recorder.headers["via"] == "a, b, c"


@pytest.mark.parametrize("fields", [b"Content-Length: 1\r\nContent-Length: 2", b"Content-Length: 1, 2"])
async def test_two_lengths_are_refused(fields: bytes) -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.connection.data_received(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\nab")
        assert recorder.ends == ["lost"]
        assert not line.idle


async def test_a_response_ends_and_the_next_one_knows_nothing_of_its_trailers() -> None:
    async with Line.open() as line:
        first = line.ask()
        line.connection.data_received(CHUNKED)
        second = line.ask()
        line.connection.data_received(LENGTH)
        assert first.ends == second.ends == ["end"]
        assert second.headers == {"content-length": "11", "x-head": "a"}
        assert line.idle == [line.connection] * 2
        assert line.connection.exchanges == 2


async def test_an_unfinished_head_leaves_nothing_for_the_next_response() -> None:
    async with Line.open() as line:
        line.ask()
        line.connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        second = line.ask()
        line.connection.data_received(INTERIM)
        line.connection.data_received(EMPTY)
        assert second.headers == {"x-head": "a"}


# --- limits of the head


def head_of(size: int) -> bytes:
    """A head whose field names and values have so many bytes, the framing of each field counted."""
    length = b"Content-Length: 0\r\n"
    fields = [length]
    left = size - len(length)
    while left:
        take = min(left, 8000) if left - min(left, 8000) >= 10 or left <= 8000 else left
        fields.append(b"x: " + b"v" * (take - 5) + b"\r\n")
        left -= take
    return b"".join(fields)


async def test_a_head_at_the_limit_is_taken() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.connection.data_received(b"HTTP/1.1 200 OK\r\n" + head_of(MAX_HEAD_BYTES) + b"\r\n")
        assert recorder.ends == ["end"]


@pytest.mark.parametrize("piece", [1000, 1 << 20])
async def test_a_head_one_past_the_limit_is_refused(piece: int) -> None:
    async with Line.open() as line:
        recorder = line.ask()
        head = b"HTTP/1.1 200 OK\r\n" + head_of(MAX_HEAD_BYTES + 1) + b"\r\n"
        for start in range(0, len(head), piece):
            line.connection.data_received(head[start : start + piece])
            if recorder.ends:
                break
        assert recorder.calls == ["lost"]
        assert recorder.error is not None
        assert "head is over" in recorder.error.message
        assert not line.connection.is_open


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nX-Endless: ", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 "])
async def test_a_field_or_reason_that_never_ends_is_refused(start: bytes) -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.connection.data_received(start)
        fed = 0
        while not recorder.ends and fed < 8 * MAX_HEAD_BYTES:
            line.connection.data_received(b"v" * 4096)
            fed += 4096
        assert recorder.calls == ["lost"]
        assert fed <= 2 * MAX_HEAD_BYTES + 4096


async def test_a_small_head_with_a_large_body_in_one_read_is_taken() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        body = b"x" * (4 * MAX_HEAD_BYTES)
        line.connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert (recorder.body, recorder.ends) == (body, ["end"])


async def test_many_interim_answers_do_not_add_up_to_a_head_that_is_too_large() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        for _ in range(2 * MAX_HEAD_BYTES // len(INTERIM)):
            line.connection.data_received(INTERIM)
        line.connection.data_received(LENGTH)
        assert recorder.ends == ["end"]


# --- faults


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"HTTP/1.1 xyz\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    ],
)
async def test_garbage_ends_the_exchange_and_the_connection(garbage: bytes) -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.connection.data_received(garbage)
        assert (recorder.ends, recorder.untouched) == (["lost"], False)
        assert not line.connection.is_open
        await until(lambda: line.lost)
        assert (recorder.ends, line.idle) == (["lost"], [])


async def test_a_switch_of_protocols_is_a_failure() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.connection.data_received(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello"
        )
        assert recorder.calls == ["lost"]
        assert recorder.error is not None
        assert "another protocol" in recorder.error.message
        assert (line.idle, line.connection.is_open) == ([], False)


async def test_an_offer_to_upgrade_is_no_upgrade() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.connection.data_received(
            b"HTTP/1.1 200 OK\r\nUpgrade: h2,h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nok"
        )
        assert (recorder.body, recorder.ends) == (b"ok", ["end"])


@pytest.mark.parametrize("extra", [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse", b"HTTP/1.1 2", LENGTH])
@pytest.mark.parametrize("name", ["chunked", "length"])
async def test_bytes_after_the_end_cost_the_connection_but_not_the_response(name: str, extra: bytes) -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.connection.data_received(FRAMED[name] + extra)
        assert (recorder.body, recorder.ends) == (b"hello world", ["end"])
        assert (line.idle, line.connection.is_open) == ([], False)


async def test_bytes_on_an_idle_connection_cost_it() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.connection.data_received(LENGTH)
        line.peer.sendall(LENGTH)
        await until(lambda: line.lost)
        assert recorder.ends == ["end"]


async def test_a_request_sent_from_on_end_never_gets_the_bytes_after_the_end() -> None:
    async with Line.open() as line:
        second = Recorder()

        def on_call(name: str) -> None:
            if name == "end" and line.idle:
                line.ask(second)

        first = Recorder(on_call)
        line.ask(first)
        line.connection.data_received(LENGTH + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse")
        assert first.ends == ["end"]
        assert second.body == b""
        assert "head" not in second.calls


async def test_a_request_sent_from_on_end_is_answered() -> None:
    async with Line.open() as line:
        second = Recorder()

        def ask_again(name: str) -> None:
            if name == "end":
                line.ask(second)

        line.ask(Recorder(ask_again))
        line.connection.data_received(CHUNKED)
        line.connection.data_received(LENGTH)
        assert (second.body, second.ends) == (b"hello world", ["end"])
        assert second.headers == {"content-length": "11", "x-head": "a"}


async def test_a_response_before_the_request_was_sent_does_not_go_back_to_the_pool() -> None:
    async with Line.open() as line:
        recorder = Recorder()
        line.connection.send(b"P" * (32 << 20), recorder)
        line.peer.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
        await until(lambda: recorder.ends)
        assert (recorder.status, recorder.body, recorder.ends) == (413, b"no", ["end"])
        assert (line.idle, line.connection.is_open) == ([], False)


@pytest.mark.parametrize("name", [*FRAMED, "close"])
async def test_an_end_of_file_at_any_byte_ends_the_exchange_exactly_once(name: str) -> None:
    response = FRAMED.get(name, CLOSE)
    head = CLOSE.index(b"\r\n\r\n") + 4
    for cut in range(len(response) + 1):
        async with Line.open() as line:
            recorder = line.ask()
            line.peer.sendall(response[:cut])
            line.hang_up()
            await until(lambda: line.lost)
            complete = cut == len(response) or (name == "close" and cut >= head)
            assert recorder.ends == ["end" if complete else "lost"], cut
            assert recorder.untouched is (None if complete else False)
            assert len(line.idle) == (complete and name != "close")


@pytest.mark.parametrize("abort", [False, True])
async def test_a_used_connection_that_dies_without_a_byte_is_told_as_untouched(abort: bool) -> None:
    for cut in (0, 1, 12):
        async with Line.open() as line:
            line.ask()
            line.peer.sendall(LENGTH)
            await until(lambda: line.idle)
            second = line.ask()
            line.peer.sendall(LENGTH[:cut])
            await until(lambda: line.peer.recv(100).count(b"GET"))
            (reset if abort else socket.socket.close)(line.peer)
            await until(lambda: line.lost)
            assert second.ends == ["lost"]
            if not (abort and cut):  # a reset may overtake the bytes before it
                assert second.untouched is (cut == 0)


async def test_a_reset_in_mid_answer_is_told_once() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.peer.sendall(CHUNKED[:-20])
        await until(lambda: recorder.body)
        reset(line.peer)
        await until(lambda: line.lost)
        assert recorder.ends == ["lost"]
        assert recorder.error is not None
        assert "in mid-answer" in recorder.error.message


@pytest.mark.parametrize("moment", ["head", "body"])
async def test_an_abort_in_a_callback_stops_all_others_at_once(moment: str) -> None:
    for piece in (1, len(CHUNKED)):
        async with Line.open() as line:
            recorder = Recorder(lambda name: line.connection.abort() if name == moment else None)
            line.ask(recorder)
            for start in range(0, len(CHUNKED), piece):
                line.connection.data_received(CHUNKED[start : start + piece])
            line.peer.close()
            await until(lambda: line.lost)
            assert recorder.calls == (["head"] if moment == "head" else ["head", "body"])
            assert not line.idle


async def test_an_abort_closes_the_socket_at_once_and_tells_nobody() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.peer.recv(100)
        line.connection.abort()
        line.connection.abort()
        assert not line.connection.is_open
        await passes(2)
        assert line.peer.recv(1) == b""
        assert (recorder.calls, line.lost) == ([], [line.connection])


async def test_a_fault_of_ours_in_a_callback_is_not_told_to_the_client_as_the_upstreams() -> None:
    seen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: seen.append(context))

    def fail(name: str) -> None:
        if name == "body":
            raise KeyError("a private prompt")

    async with Line.open() as line:
        recorder = line.ask(Recorder(fail))
        line.peer.sendall(LENGTH)
        await until(lambda: line.lost)
        assert recorder.calls == ["head", "body", "lost"]
        assert recorder.error is not None
        assert "private prompt" not in recorder.error.message
        assert recorder.error.code == "internal_error"
        assert [type(context["exception"]) for context in seen] == [KeyError]


async def test_only_one_exchange_at_a_time() -> None:
    async with Line.open() as line:
        line.ask()
        with pytest.raises(RuntimeError):
            line.ask()


async def test_connection_close_is_obeyed() -> None:
    for response in (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok and more",
    ):
        async with Line.open() as line:
            recorder = line.ask()
            line.connection.data_received(response)
            assert (recorder.body, recorder.ends) == (b"ok", ["end"])
            assert (line.idle, line.connection.is_open) == ([], False)


# --- backpressure


def fill(peer: socket.socket) -> None:
    """Send until no more is taken."""
    while True:
        peer.send(b"x" * 65536)


async def test_a_pause_stops_reading_and_a_resume_starts_it_again() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
        await until(lambda: recorder.status)
        line.connection.pause()
        line.connection.pause()
        line.peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            fill(line.peer)
        before = len(recorder.body)
        await passes(50)
        assert len(recorder.body) == before
        line.connection.resume()
        line.connection.resume()
        await until(lambda: len(recorder.body) > before + 65536)


async def test_a_connection_paused_in_its_last_read_goes_back_reading() -> None:
    async with Line.open() as line:
        first = Recorder(lambda name: line.connection.pause() if name == "body" else None)
        line.ask(first)
        line.peer.sendall(LENGTH)
        await until(lambda: first.ends)
        second = line.ask()
        line.peer.sendall(LENGTH)
        await until(lambda: second.ends)
        assert second.body == b"hello world"


async def test_an_idle_connection_notices_the_close_of_the_other_side() -> None:
    async with Line.open() as line:
        line.ask()
        line.connection.data_received(LENGTH)
        line.hang_up()
        await until(lambda: not line.connection.is_open)
        await until(lambda: line.lost)


async def test_a_connection_has_no_dictionary() -> None:
    assert not hasattr(Connection(lambda connection: None, lambda connection: None), "__dict__")


# Data that looks like framing: a reader that loses its place in the chunks takes one of these for a chunk.
LOOKALIKES = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=40),
        st.sampled_from([b"5\r\nhello\r\n", b"\r\n", b"0\r\n\r\n", b"1\r\nx\r\n1\r\ny\r\n", b"a\r\n"]),
    ),
    min_size=1,
    max_size=8,
)


def whole_chunk(data: bytes) -> bytes | None:
    """What stands in a read that has the form of exactly one transfer chunk, read naively."""
    line, separator, rest = data.partition(b"\r\n")
    try:
        size = int(line, 16) if line and line.isalnum() else 0
    except ValueError:
        size = 0
    whole = separator and size and len(rest) == size + 2 and rest.endswith(b"\r\n")
    return rest[:size] if whole else None


@given(LOOKALIKES, st.lists(st.integers(1, 60), max_size=12), st.booleans())
def test_chunks_that_are_taken_whole_change_nothing_wherever_the_reads_fall(
    pieces: list[bytes], cuts: list[int], aligned: bool
) -> None:
    taken: list[bytes] = []

    def take(chunk: bytes) -> bool:
        if (data := whole_chunk(chunk)) is None:
            return False
        taken.append(data)
        return True

    class Whole:
        def on_head(self, status: int, headers: Any) -> Any:
            return taken.append

        def on_end(self) -> None:
            taken.append(b"<end>")

        def on_lost(self, error: Exception, *, untouched: bool) -> None:
            raise error

    connection = Connection(lambda connection: None, lambda connection: None)
    connection.connection_made(StandingTransport())
    connection.send(b"GET / HTTP/1.1\r\n\r\n", Whole())
    connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    connection.deliver_to(taken.append, take)
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [b"first", *pieces]]
    reads = chunks if aligned else list(cut(b"".join(chunks), cuts))
    for read in reads:
        connection.data_received(read)
    connection.data_received(b"0\r\n\r\n")
    assert b"".join(taken) == b"first" + b"".join(pieces) + b"<end>"


def cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """The data in pieces of these sizes, and the rest."""
    start = 0
    for size in sizes:
        if start < len(data):
            yield data[start : start + size]
        start += size
    if start < len(data):
        yield data[start:]


class StandingTransport(asyncio.Transport):
    """A transport to a peer that takes everything."""

    def write(self, data: Any) -> None: ...

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def is_reading(self) -> bool:
        return True


async def test_a_read_that_is_one_chunk_of_the_known_shape_is_taken_whole() -> None:
    offered: list[bytes] = []
    async with Line.open() as line:
        recorder = line.ask()
        line.connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")

        def takes(chunk: bytes) -> bool:
            offered.append(chunk)
            return chunk == b"1\r\nb\r\n"

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
            line.connection.data_received(read)
        # The first read shows where the parser stands; a read in the middle of a chunk is never offered.
        assert offered == [b"1\r\nb\r\n", b"1\r\n", b"2\r\nd", b"1\r\ne\r\n", b"0\r\n\r\n"]
        assert (recorder.body, recorder.ends) == (b"acdde", ["end"])
