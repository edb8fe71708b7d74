"""One connection on a transport that does nothing: the calls that heads, bodies, ends and faults cause."""

import pytest

from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.response_parser import MAX_HEAD_BYTES

from .kit import until
from .lines import Recorder, StandingLine
from .responses import CHUNKED, CLOSE, EMPTY, FRAMED, INTERIM, LENGTH, body_of
from .test_response_parser import GARBAGE, head_of


@pytest.mark.parametrize("name", FRAMED)
def test_a_response_cut_anywhere_is_the_same_response(name: str) -> None:
    response = FRAMED[name]
    line = StandingLine()
    for cut in range(1, len(response)):
        recorder = line.ask()
        line.feed(response[:cut])
        assert not recorder.ends
        line.feed(response[cut:])
        assert (recorder.body, recorder.ends) == (body_of(name), ["end"])
        assert recorder.headers["x-head"] == "a"
        assert "x-trailer" not in recorder.headers
    assert len(line.idle) == len(response) - 1


@pytest.mark.parametrize("name", FRAMED)
def test_a_response_byte_by_byte_is_the_same_response(name: str) -> None:
    line = StandingLine()
    recorder = line.ask()
    for byte in FRAMED[name]:
        assert not recorder.ends
        line.feed(bytes([byte]))
    assert (recorder.body, recorder.ends) == (body_of(name), ["end"])
    assert line.idle == [line.connection]


def test_interim_answers_are_passed_over() -> None:
    line = StandingLine()
    recorder = line.ask()
    line.feed(INTERIM)
    assert recorder.calls == []
    line.feed(LENGTH)
    assert (recorder.status, recorder.calls) == (200, ["head", "body", "end"])
    assert recorder.headers == {"content-length": "11", "x-head": "a"}


@pytest.mark.parametrize("fields", [b"Content-Length: 1\r\nContent-Length: 2", b"Content-Length: 1, 2"])
def test_two_lengths_are_refused(fields: bytes) -> None:
    line = StandingLine()
    recorder = line.ask()
    line.feed(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\nab")
    assert recorder.ends == ["lost"]
    assert not line.idle


def test_a_response_ends_and_the_next_one_knows_nothing_of_its_trailers() -> None:
    line = StandingLine()
    first = line.ask()
    line.feed(CHUNKED)
    second = line.ask()
    line.feed(LENGTH)
    assert first.ends == second.ends == ["end"]
    assert second.headers == {"content-length": "11", "x-head": "a"}
    assert line.idle == [line.connection] * 2
    assert line.connection.exchanges == 2


def test_an_unfinished_head_leaves_nothing_for_the_next_response() -> None:
    line = StandingLine()
    line.ask()
    line.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    second = line.ask()
    line.feed(INTERIM)
    line.feed(EMPTY)
    assert second.headers == {"x-head": "a"}


@pytest.mark.parametrize("piece", [1000, 1 << 20])
async def test_a_head_one_past_the_limit_is_refused(piece: int) -> None:
    line = StandingLine()
    recorder = line.ask()
    head = b"HTTP/1.1 200 OK\r\n" + head_of(MAX_HEAD_BYTES + 1) + b"\r\n"
    for start in range(0, len(head), piece):
        line.feed(head[start : start + piece])
        if recorder.ends:
            break
    await until(lambda: recorder.ends)
    assert recorder.calls == ["lost"]
    assert recorder.error is not None
    assert "head is over" in recorder.error.message
    assert not line.connection.is_open


def test_a_switch_of_protocols_is_a_failure() -> None:
    line = StandingLine()
    recorder = line.ask()
    line.feed(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello")
    assert recorder.calls == ["lost"]
    assert recorder.error is not None
    assert "another protocol" in recorder.error.message
    assert (line.idle, line.connection.is_open) == ([], False)


@pytest.mark.parametrize("extra", [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse", b"HTTP/1.1 2", LENGTH])
@pytest.mark.parametrize("name", ["chunked", "length"])
def test_bytes_after_the_end_cost_the_connection_but_not_the_response(name: str, extra: bytes) -> None:
    line = StandingLine()
    recorder = line.ask()
    line.feed(FRAMED[name] + extra)
    assert (recorder.body, recorder.ends) == (b"hello world", ["end"])
    assert (line.idle, line.connection.is_open) == ([], False)


def test_a_request_sent_from_on_end_never_gets_the_bytes_after_the_end() -> None:
    line = StandingLine()
    second = Recorder()

    def on_call(name: str) -> None:
        if name == "end" and line.idle:
            line.ask(second)

    first = Recorder(on_call)
    line.ask(first)
    line.feed(LENGTH + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse")
    assert first.ends == ["end"]
    assert second.body == b""
    assert "head" not in second.calls


def test_a_request_sent_from_on_end_is_answered() -> None:
    line = StandingLine()
    second = Recorder()

    def on_call(name: str) -> None:
        if name == "end":
            line.ask(second)

    line.ask(Recorder(on_call))
    line.feed(CHUNKED)
    line.feed(LENGTH)
    assert (second.body, second.ends) == (b"hello world", ["end"])
    assert second.headers == {"content-length": "11", "x-head": "a"}


def test_only_one_exchange_at_a_time() -> None:
    line = StandingLine()
    line.ask()
    with pytest.raises(RuntimeError):
        line.ask()


def test_connection_close_is_obeyed() -> None:
    for response in (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok and more",
    ):
        line = StandingLine()
        recorder = line.ask()
        line.feed(response)
        assert (recorder.body, recorder.ends) == (b"ok", ["end"])
        assert (line.idle, line.connection.is_open) == ([], False)


def test_a_connection_has_no_dictionary() -> None:
    assert not hasattr(UpstreamConnection(lambda connection: None, lambda connection: None), "__dict__")


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_ends_the_exchange_and_the_connection(garbage: bytes) -> None:
    line = StandingLine()
    recorder = line.ask()
    line.feed(garbage)
    assert (recorder.ends, recorder.untouched) == (["lost"], False)
    assert not line.connection.is_open
    line.connection.connection_lost(None)
    assert (recorder.ends, line.idle, line.lost) == (["lost"], [], [line.connection])


@pytest.mark.parametrize("name", [*FRAMED, "close"])
def test_an_end_of_file_at_any_byte_ends_the_exchange_exactly_once(name: str) -> None:
    response = FRAMED.get(name, CLOSE)
    head = CLOSE.index(b"\r\n\r\n") + 4
    for size in range(len(response) + 1):
        line = StandingLine()
        recorder = line.ask()
        if size:
            line.feed(response[:size])
        line.connection.eof_received()
        line.connection.connection_lost(None)
        complete = size == len(response) or (name == "close" and size >= head)
        assert recorder.ends == ["end" if complete else "lost"], size
        assert recorder.untouched is (None if complete else False)
        assert len(line.idle) == (complete and name != "close")
        assert line.lost == [line.connection]
