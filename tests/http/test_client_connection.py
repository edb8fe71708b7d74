"""A connection gives each request to one of the two ways, and comes back from aiohttp behind every request."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http import client_connection
from gateway.http.capacity import ConnectionCount
from gateway.http.client_connection import MAX_PIECES, MAX_READS_AHEAD, MAX_SENT_AHEAD, ClientProtocol, Server
from gateway.http.request_parser import REQUEST_LINES, PlainRequest, Unparsed, parse_request
from gateway.turn_share import TurnShare

from .loopback import Peer, connected, until

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
EXPECTING = b"POST /%d HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"
H2C = (
    b"GET /%d HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\r\n"
)
REFUSED = b"refused"


def plain(number: int, content: bytes = b"") -> bytes:
    content = b"%d %b" % (number, content)
    return REQUEST_LINES[0] + b"Host: a\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)


def answer_to(way: str, number: int) -> bytes:
    body = f"<{way} {number}>".encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class ShortWay:
    """A fast way that answers with the number in the request's body, at once or when the test lets it."""

    def __init__(self) -> None:
        self.at_once = True
        self.keep_alive = True
        self.waiting: list[Callable[[], None]] = []

    def parse(self, data: bytes) -> PlainRequest | Unparsed:
        return parse_request(data)

    def answer(self, client: ClientProtocol, request: PlainRequest) -> bool:
        if REFUSED in request.content:
            return False

        def write() -> None:
            if client.transport is not None:
                client.transport.write(answer_to("fast", int(request.content.split()[0])))
            client.on_answered(keep_alive=self.keep_alive)

        if self.at_once:
            write()
        else:
            self.waiting.append(write)
        return True


async def by_aiohttp(request: web.BaseRequest) -> web.Response:
    body = await request.read()
    number = int(body.split()[0]) if request.path.endswith("completions") else int(request.path[1:])
    return web.Response(text=f"<aiohttp {number}>")


class Case:
    """A connection with its client."""

    def __init__(self, peer: Peer, connection: ClientProtocol, way: ShortWay, count: ConnectionCount) -> None:
        self.peer = peer
        self.connection = connection
        self.way = way
        self.count = count

    async def exchange(self, request: bytes, expected: str) -> None:
        await self.peer.send(request)
        await self.expect(expected)

    async def expect(self, expected: str) -> None:
        assert f"<{expected}>".encode() in await self.peer.until(f"<{expected}>".encode())


class Opened:
    """Opens a case for as long as the block lasts."""

    def __init__(self, **options: Any) -> None:
        self._options = options

    async def __aenter__(self) -> Case:
        way, count = ShortWay(), ConnectionCount()

        def build(server: web.Server) -> ClientProtocol:
            loop = asyncio.get_running_loop()
            return ClientProtocol(server, count, way, TurnShare(), loop=loop, access_log=None, **self._options)

        self._connected = connected(build, by_aiohttp)
        peer, connection = await self._connected.__aenter__()
        return Case(peer, connection, way, count)

    async def __aexit__(self, *error: object) -> None:
        await self._connected.__aexit__(None, None, None)


@pytest.fixture
async def case() -> AsyncIterator[Case]:
    async with Opened() as case:
        yield case


# --- one request on one way, the next on another


@pytest.mark.parametrize("other", [GET, CHUNKED, EXPECTING, H2C], ids=["get", "chunked", "expecting", "h2c"])
async def test_behind_a_request_on_aiohttps_way_the_next_is_fast_again(case: Case, other: bytes) -> None:
    for number in range(0, 6, 2):
        await case.exchange(other % number, f"aiohttp {number}")
        assert case.connection.served_by == Server.AIOHTTP
        await case.exchange(plain(number + 1), f"fast {number + 1}")
        assert case.connection.served_by == Server.NOBODY


@pytest.mark.parametrize("cut", [1, len(REQUEST_LINES[0]), len(REQUEST_LINES[0]) + 9, -1])
async def test_behind_a_request_on_aiohttps_way_a_request_in_two_pieces_is_fast_too(case: Case, cut: int) -> None:
    await case.exchange(GET % 1, "aiohttp 1")
    await case.peer.send(plain(2)[:cut])
    await until(lambda: case.connection.served_by is Server.NOBODY)
    await case.exchange(plain(2)[cut:], "fast 2")


async def test_a_request_that_the_fast_way_refuses_is_aiohttps_alone(case: Case) -> None:
    await case.exchange(plain(1, REFUSED), "aiohttp 1")
    await case.exchange(plain(2), "fast 2")


async def test_an_empty_line_between_two_requests_is_no_part_of_either(case: Case) -> None:
    await case.exchange(GET % 1, "aiohttp 1")
    await case.exchange(b"\r\n" + plain(2), "aiohttp 2")
    await case.exchange(plain(3), "fast 3")


# --- what comes while a request is served


async def test_what_is_sent_ahead_of_a_fast_answer_is_answered_in_order(case: Case) -> None:
    case.way.at_once = False
    await case.peer.send(plain(1) + plain(2) + GET % 3 + plain(4))
    for number in (1, 2):
        await until(lambda: case.way.waiting)
        assert case.connection.served_by is Server.FAST_WAY
        case.way.waiting.pop()()
        await case.expect(f"fast {number}")
    case.way.at_once = True
    await case.expect("aiohttp 4")
    await case.exchange(plain(5), "fast 5")


async def test_what_comes_while_aiohttp_serves_stays_with_aiohttp(case: Case) -> None:
    await case.exchange(GET % 1 + plain(2) + plain(3), "aiohttp 3")
    await case.exchange(plain(4), "fast 4")


async def test_a_part_of_a_request_in_aiohttps_parser_keeps_the_connection_there(case: Case) -> None:
    await case.exchange(GET % 1 + plain(2)[:30], "aiohttp 1")
    await case.peer.send(plain(2)[30:-1])
    await case.exchange(plain(2)[-1:], "aiohttp 2")
    await case.exchange(plain(3), "fast 3")


async def test_a_body_that_comes_slowly_stays_with_aiohttp(case: Case) -> None:
    whole = CHUNKED % 1
    for number in range(len(whole) - 1):
        await case.peer.send(whole[number : number + 1])
        await asyncio.sleep(0)
    await case.exchange(whole[-1:], "aiohttp 1")
    await case.exchange(plain(2), "fast 2")


async def test_more_than_is_held_stops_reading_until_the_answer_is_there(case: Case) -> None:
    case.way.at_once = False
    large = plain(2, b"x" * 200_000)
    ahead = 2 * MAX_SENT_AHEAD // len(large)
    await case.peer.send(plain(1))
    await until(lambda: case.way.waiting)
    sending = asyncio.create_task(case.peer.send(large * ahead))
    await until(lambda: not case.connection.transport.is_reading())  # type: ignore[union-attr]
    case.way.at_once = True
    case.way.waiting.pop()()
    received = b""
    while received.count(b"<fast 2>") < ahead:
        received += await case.peer.until(b"<fast 2>")
    await sending


async def test_a_client_that_sends_ahead_byte_by_byte_is_read_no_further(case: Case) -> None:
    case.way.at_once = False
    await case.peer.send(plain(1))
    await until(lambda: case.way.waiting)
    transport = cast(asyncio.Transport, case.connection.transport)
    ahead = plain(2, b"x" * (MAX_READS_AHEAD - len(plain(2)) - 10))
    for place in range(len(ahead)):
        case.connection.data_received(ahead[place : place + 1])
    assert transport.is_reading()
    for _ in range(MAX_READS_AHEAD - len(ahead)):
        case.connection.data_received(b"\n")
    assert not transport.is_reading()
    case.way.at_once = True
    case.way.waiting.pop()()
    await case.expect("fast 2")
    assert transport.is_reading()


# --- the rest of a request


async def test_a_request_in_many_pieces_goes_to_aiohttp(case: Case) -> None:
    whole = plain(1, b"x" * 4 * MAX_PIECES)
    for start in range(0, len(whole), 4):
        await case.peer.send(whole[start : start + 4])
        await asyncio.sleep(0.001)
    await case.expect("aiohttp 1")
    await case.exchange(plain(2), "fast 2")


async def test_a_request_whose_rest_is_long_in_coming_goes_to_aiohttp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_connection, "PIECES_SECONDS", 0.01)
    async with Opened() as case:
        await case.peer.send(plain(1)[:-1])
        await until(lambda: case.connection.served_by is Server.AIOHTTP)
        await case.exchange(plain(1)[-1:], "aiohttp 1")
        await case.exchange(plain(2), "fast 2")


async def test_the_keepalive_time_does_not_end_a_request_that_comes_in_pieces() -> None:
    async with Opened(keepalive_timeout=0.05) as case:
        await case.exchange(plain(1), "fast 1")
        await asyncio.sleep(0.03)
        await case.peer.send(plain(2)[:-1])
        await asyncio.sleep(0.04)
        await case.exchange(plain(2)[-1:], "fast 2")
        assert await case.peer.rest() == b""


@pytest.mark.parametrize("before", [[], [plain(1)], [GET % 1]])
async def test_the_beginning_of_a_head_does_not_keep_a_connection_for_ever(
    before: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_connection, "PIECES_SECONDS", 0.02)
    async with Opened(keepalive_timeout=0.05) as case:
        for request in before:
            await case.peer.send(request)
            await case.peer.until(b">")
        await case.peer.send(plain(2)[:-12])
        await until(lambda: case.connection.served_by is Server.AIOHTTP)
        assert await case.peer.rest() == b""


# --- the end


async def test_bytes_that_are_no_request_are_refused_and_the_connection_is_closed(case: Case) -> None:
    await case.exchange(plain(1), "fast 1")
    await case.peer.send(b"nonsense\r\n\r\n")
    refusal = await case.peer.rest()
    assert refusal.startswith(b"HTTP/1.0 400 Bad Request\r\n")  # the version is not known
    assert b"this is not a valid HTTP request" in refusal


async def test_the_last_request_of_a_connection_closes_it(case: Case) -> None:
    await case.peer.send(b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert (await case.peer.rest()).endswith(b"<aiohttp 1>")


async def test_a_fast_answer_that_says_so_closes_the_connection(case: Case) -> None:
    case.way.keep_alive = False
    await case.peer.send(plain(1) + plain(2))
    assert (await case.peer.rest()).endswith(b"<fast 1>")
    assert case.connection.served_by is Server.CLOSED


@pytest.mark.parametrize("requests", [[plain(1)], [GET % 1], [GET % 1, plain(2)]])
async def test_an_idle_connection_is_closed_after_the_keepalive_time(requests: list[bytes]) -> None:
    async with Opened(keepalive_timeout=0.05) as case:
        for request in requests:
            await case.peer.send(request)
            await case.peer.until(b">")
        assert await case.peer.rest() == b""


async def test_the_keepalive_time_does_not_end_a_fast_answer_under_way() -> None:
    async with Opened(keepalive_timeout=0.02) as case:
        await case.exchange(GET % 1, "aiohttp 1")
        case.way.at_once = False
        await case.peer.send(plain(2))
        await until(lambda: case.way.waiting)
        await asyncio.sleep(0.06)
        case.way.waiting.pop()()
        await case.expect("fast 2")


async def test_a_shutdown_lets_a_fast_answer_end(case: Case) -> None:
    case.way.at_once = False
    await case.peer.send(plain(1))
    await until(lambda: case.way.waiting)
    case.connection.close()  # aiohttp's server calls `close` before `shutdown`
    closing = asyncio.create_task(case.connection.shutdown(10))
    await asyncio.sleep(0)
    case.way.waiting.pop()()
    assert (await case.peer.rest()).endswith(b"<fast 1>")
    await closing


async def test_a_shutdown_does_not_wait_for_a_fast_answer_for_ever(case: Case) -> None:
    case.way.at_once = False
    await case.peer.send(plain(1))
    await until(lambda: case.way.waiting)
    await case.connection.shutdown(0.01)
    assert await case.peer.rest() == b""
    case.way.waiting.pop()()  # the answer ends although its client is gone


@pytest.mark.parametrize("how", ["fin", "half", "rst"])
@pytest.mark.parametrize("before", [b"", GET % 1], ids=["fast from the start", "behind aiohttp"])
async def test_a_watcher_is_always_told_that_the_client_is_gone(how: str, before: bytes) -> None:
    async with Opened() as case:
        if before:
            await case.exchange(before, "aiohttp 1")
        case.way.at_once = False
        await case.peer.send(plain(2))
        await until(lambda: case.way.waiting)
        gone: list[Server] = []
        case.connection.watch(lambda: gone.append(case.connection.served_by))
        if how == "half":
            case.peer.socket.shutdown(socket.SHUT_WR)
        else:
            if how == "rst":
                case.peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            case.peer.socket.close()
        await until(lambda: gone)


async def test_a_connection_counts_as_long_as_it_lasts() -> None:
    async with Opened() as case:
        await case.exchange(plain(1), "fast 1")
        assert case.count.total == 1
    assert case.count.total == 0


KINDS = st.sampled_from(["plain", "refused", "get", "chunked", "expecting"])


def request_of(kind: str, number: int) -> bytes:
    others = {"get": GET, "chunked": CHUNKED, "expecting": EXPECTING}
    return others[kind] % number if kind in others else plain(number, REFUSED if kind == "refused" else b"")


@settings(max_examples=60)
@given(kinds=st.lists(KINDS, min_size=1, max_size=7), turns=st.integers(0, 8), data=st.data())
def test_any_requests_cut_anywhere_are_each_answered_once_and_in_order(
    kinds: list[str], turns: int, data: st.DataObject
) -> None:
    row = b"".join(request_of(kind, number) for number, kind in enumerate(kinds))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(row)), max_size=10)))

    async def main() -> None:
        async with Opened() as case:
            for start, end in zip([0, *cuts], [*cuts, len(row)], strict=True):
                await case.peer.send(row[start:end])
                for _ in range(turns):
                    await asyncio.sleep(0)
            received = b""
            while received.count(b">") < len(kinds):
                received += await case.peer.until(b">")
            numbers = [int(part.split(b">")[0].split()[1]) for part in received.split(b"<")[1:]]
            assert numbers == list(range(len(kinds)))
            await case.exchange(plain(99), "fast 99")  # however it came here, the connection is fast again

    asyncio.run(main())
