"""Dialling: each phase fails in its own words, none of them a host name, and leaves no socket."""

import asyncio
import base64
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from gateway.errors import UpstreamError
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.dial import MAX_PROXY_HEAD_BYTES, Dialer, DialLimits, Origin, tls_context
from tests.kit.certificates import Certificates, server_context

from .kit import BOUND, Peer, Server, assert_names_no_host, open_sockets, passes, until
from .lines import Recorder

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def build() -> UpstreamConnection:
    return UpstreamConnection(lambda connection: None, lambda connection: None)


def dialer(
    port: int,
    *,
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
    proxy: str | None = None,
    connect_ms: int = 20_000,  # longer than a loaded machine takes; a test of the limit sets a shorter time
    tls_ms: int = 20_000,
) -> Dialer:
    return Dialer(Origin(host, port, tls is not None, ""), DialLimits(connect_ms, tls_ms), tls, proxy)


async def failure(dialer: Dialer, held: int = 1) -> str:
    """The message of a dial that fails; it leaves no socket but those that fake servers hold still."""
    before = open_sockets()
    with pytest.raises(UpstreamError) as caught:
        await dialer.dial(build)
    assert_names_no_host(caught.value)
    assert dialer.origin.host not in caught.value.message
    assert str(dialer.origin.port) not in caught.value.message
    assert not caught.value.message.rstrip().endswith(":")
    await until(lambda: open_sockets() <= before + held, BOUND)
    return caught.value.message


async def exchange(connection: UpstreamConnection) -> Recorder:
    recorder = Recorder()
    connection.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", recorder)
    await until(lambda: recorder.ends)
    return recorder


async def answer(peer: Peer) -> None:
    await peer.request()
    peer.send(OK)


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """A port that neither takes nor refuses connections."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        yield listener.getsockname()[1]


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """A port on which every connection is refused: it is bound, so no other process takes it, and does not listen."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(socket.socket())
        first.bind(("127.0.0.1", 0))
        port: int = first.getsockname()[1]
        with contextlib.suppress(OSError):  # no IPv6 here, or the port is taken there
            stack.enter_context(socket.socket(socket.AF_INET6)).bind(("::1", port))
        yield port


async def test_a_refused_connection_says_so() -> None:
    with refusing_port() as port:
        assert await failure(dialer(port)) == "connecting failed: Connection refused"


async def test_a_name_with_several_addresses_that_refuse_names_none_of_them() -> None:
    with refusing_port() as port:
        message = await failure(dialer(port, host="localhost"))
        assert message.startswith("connecting failed: ")
        assert "::1" not in message


@pytest.mark.parametrize("host", ["host.invalid", "a" * 64 + ".example", "a..b"])
async def test_a_name_that_does_not_resolve_says_so(host: str) -> None:
    assert await failure(dialer(443, host=host)) == "connecting failed: the host name does not resolve"


async def test_connecting_has_a_limit_of_its_own() -> None:
    with full_backlog() as port:
        loop = asyncio.get_running_loop()
        started = loop.time()
        message = await failure(dialer(port, connect_ms=100))
        assert message == "connecting took longer than connect_timeout_ms (100)"
        assert 0.09 <= loop.time() - started < 0.1 + BOUND


async def test_a_plain_connection_is_made_and_serves() -> None:
    async with Server.open(play=answer) as server:
        connection = await dialer(server.port).dial(build)
        assert connection.is_open
        assert (await exchange(connection)).body == b"ok"


async def test_a_server_that_closes_at_once_is_a_failed_dial_or_a_failed_exchange() -> None:
    async def close(peer: Peer) -> None:
        peer.close()

    async with Server.open(play=close) as server:
        for _ in range(50):
            try:
                connection = await dialer(server.port).dial(build)
            except UpstreamError as error:
                assert_names_no_host(error)
            else:
                assert (await exchange(connection)).ends == ["lost"]


# --- TLS


async def test_a_certificate_of_our_authority_is_trusted(certificates: Certificates) -> None:
    for host in ("127.0.0.1", "localhost"):
        async with Server.open(ssl=server_context(certificates.good), play=answer) as server:
            tls = tls_context(str(certificates.authority))
            connection = await dialer(server.port, host=host, tls=tls).dial(build)
            assert connection.is_open
            assert (await exchange(connection)).body == b"ok"
            connection.abort()


def test_the_authorities_of_the_system_are_read_once(certificates: Certificates) -> None:
    own = str(certificates.authority)
    assert tls_context(None) is tls_context(None)
    assert tls_context(own) is not tls_context(own)  # the file may have been renewed
    assert tls_context(own) is not tls_context(None)


async def test_a_certificate_of_an_unknown_authority_is_not_trusted(certificates: Certificates) -> None:
    async with Server.open(ssl=server_context(certificates.good)) as server:
        message = await failure(dialer(server.port, tls=tls_context(None)))
        assert message.startswith("the TLS handshake failed: the certificate is not trusted: ")


async def test_an_expired_certificate_is_not_trusted(certificates: Certificates) -> None:
    async with Server.open(ssl=server_context(certificates.expired)) as server:
        message = await failure(dialer(server.port, tls=tls_context(str(certificates.authority))))
        assert message == "the TLS handshake failed: the certificate is not trusted: certificate has expired"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_certificate_for_another_host_is_not_trusted_and_no_host_is_named(
    certificates: Certificates, host: str
) -> None:
    async with Server.open(ssl=server_context(certificates.other)) as server:
        message = await failure(dialer(server.port, host=host, tls=tls_context(str(certificates.authority))))
        assert message.startswith("the TLS handshake failed: the certificate is not trusted: ")
        assert "mismatch" in message


async def test_the_handshake_has_a_limit_of_its_own(certificates: Certificates) -> None:
    async with Server.open() as server:
        message = await failure(dialer(server.port, tls=tls_context(None), tls_ms=100))
        assert message == "the TLS handshake took longer than tls_timeout_ms (100)"
        assert await (await server.peer()).hung_up()


async def test_a_server_that_does_not_speak_tls_says_so() -> None:
    async def talk(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with Server.open(play=talk) as server:
        assert (await failure(dialer(server.port, tls=tls_context(None)))).startswith("the TLS handshake failed: ")


@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("hello", [False, True])
async def test_a_server_that_hangs_up_in_the_handshake_says_so(way: str, hello: bool) -> None:
    async def hang_up(peer: Peer) -> None:
        if hello:
            await peer.read(10)  # in the middle of the client's hello
        (peer.reset if way == "reset" else peer.close)()

    async with Server.open(play=hang_up) as server:
        loop = asyncio.get_running_loop()
        started = loop.time()
        for _ in range(10):
            message = await failure(dialer(server.port, tls=tls_context(None)))
            assert message.startswith(("the TLS handshake failed: ", "connecting failed: "))
        assert loop.time() - started < BOUND


async def test_a_server_that_hangs_up_right_after_the_handshake_leaves_nobody_waiting(
    certificates: Certificates,
) -> None:
    async def hang_up(peer: Peer) -> None:
        peer.transport.abort()

    async with Server.open(ssl=server_context(certificates.good), play=hang_up) as server:
        tls = tls_context(str(certificates.authority))
        for _ in range(20):
            try:
                connection = await dialer(server.port, tls=tls).dial(build)
            except UpstreamError as error:
                assert_names_no_host(error)
            else:
                assert (await exchange(connection)).ends == ["lost"]


# --- through a proxy


async def tunnel(peer: Peer, port: int, seen: list[bytes]) -> None:
    """A proxy: takes a CONNECT and copies bytes both ways."""
    seen.append(await peer.request())
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    peer.send(b"HTTP/1.1 200 Connection established\r\nVia: us\r\n\r\n")

    async def copy(source: asyncio.StreamReader | Peer, write: Callable[[bytes], None]) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                write(data)

    back = asyncio.ensure_future(copy(reader, peer.send))
    await copy(peer, writer.write)
    writer.transport.abort()
    await back


async def test_a_tunnel_through_a_proxy_carries_tls(certificates: Certificates) -> None:
    seen: list[bytes] = []
    async with Server.open(ssl=server_context(certificates.good), play=answer) as server:
        finished = asyncio.Event()

        async def play(peer: Peer) -> None:
            await tunnel(peer, server.port, seen)
            finished.set()

        async with Server.open(play=play) as proxy:
            tls = tls_context(str(certificates.authority))
            url = f"http://us%40er:p%3Ass@127.0.0.1:{proxy.port}"
            connection = await dialer(server.port, host="localhost", tls=tls, proxy=url).dial(build)
            assert (await exchange(connection)).body == b"ok"
            connection.abort()
            await asyncio.wait_for(finished.wait(), BOUND)
    head = seen[0].decode()
    assert head.startswith(f"CONNECT localhost:{server.port} HTTP/1.1\r\n")
    assert f"\r\nHost: localhost:{server.port}\r\n" in head
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'us@er:p:ss').decode()}\r\n" in head


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "the proxy refused the tunnel: HTTP 407"),
        (b"HTTP/1.1 502 cannot reach localhost:443\r\nX: y\r\n\r\n", "the proxy refused the tunnel: HTTP 502"),
        (b"SSH-2.0-x 200 OK\r\n\r\n", "the proxy's answer is not HTTP"),
        (b"\r\n\r\n", "the proxy's answer is not HTTP"),
        (b"\xff\x00\r\n\r\n", "the proxy's answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * MAX_PROXY_HEAD_BYTES, "the proxy's answer is over 16384 bytes"),
        (b"z" * (MAX_PROXY_HEAD_BYTES + 1), "the proxy's answer is over 16384 bytes"),
        (b"", "the proxy hung up"),
    ],
)
async def test_a_proxy_that_refuses_says_what_and_names_nobody(said: bytes, expected: str) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.request()
        peer.send(said)
        peer.close()

    async with Server.open(play=refuse) as proxy:
        url = f"http://user:secret@127.0.0.1:{proxy.port}"
        message = await failure(dialer(443, host="localhost", tls=tls_context(None), proxy=url))
        assert message == expected


async def test_any_success_of_a_proxy_is_a_tunnel(certificates: Certificates) -> None:
    async def accept(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.0 201 Done\r\n\r\n")
        await peer.hung_up()

    async with Server.open(play=accept) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        message = await failure(dialer(443, tls=tls_context(None), proxy=url, tls_ms=100))
        assert message == "the TLS handshake took longer than tls_timeout_ms (100)"


async def test_a_silent_proxy_is_told_from_a_silent_upstream() -> None:
    async with Server.open() as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        message = await failure(dialer(443, host="localhost", tls=tls_context(None), proxy=url, connect_ms=100))
        assert message == "the proxy's CONNECT took longer than connect_timeout_ms (100)"


async def test_a_proxy_that_is_not_there_is_told_as_the_proxy() -> None:
    with refusing_port() as port:
        url = f"http://127.0.0.1:{port}"
        message = await failure(dialer(443, host="localhost", tls=tls_context(None), proxy=url))
        assert message == "connecting to the proxy failed: Connection refused"


async def test_a_silent_upstream_behind_a_proxy_has_the_limit_of_the_handshake() -> None:
    async with Server.open() as upstream:

        async def play(peer: Peer) -> None:
            await tunnel(peer, upstream.port, [])

        async with Server.open(play=play) as proxy:
            url = f"http://127.0.0.1:{proxy.port}"
            message = await failure(dialer(upstream.port, tls=tls_context(None), proxy=url, tls_ms=100), held=3)
            assert message == "the TLS handshake took longer than tls_timeout_ms (100)"
            assert await (await upstream.peer()).hung_up()


# --- cancelled


async def cancelled_at_every_pass(make: Callable[[], Dialer], until_pass: int = 400) -> None:
    """Cancel a dial after one pass of the loop, another dial after two passes, and so on until a dial ends first."""
    before = open_sockets()
    completed = False
    for count in range(until_pass):
        dial = asyncio.ensure_future(make().dial(build))
        await passes(count)
        completed = dial.done()
        dial.cancel()
        result = (await asyncio.gather(dial, return_exceptions=True))[0]
        if isinstance(result, UpstreamConnection):
            result.abort()
        else:
            assert isinstance(result, asyncio.CancelledError | UpstreamError)
        if completed:
            break
    await until(lambda: open_sockets() <= before, BOUND)


@pytest.fixture
async def plain() -> AsyncIterator[Server]:
    async with Server.open(play=_gone) as server:
        yield server


async def _gone(peer: Peer) -> None:
    await peer.hung_up()
    peer.close()


async def test_a_cancelled_dial_leaves_no_socket(plain: Server) -> None:
    await cancelled_at_every_pass(lambda: dialer(plain.port))


async def test_a_cancelled_handshake_leaves_no_socket(certificates: Certificates) -> None:
    tls = tls_context(str(certificates.authority))
    async with Server.open(ssl=server_context(certificates.good), play=_gone) as server:
        await cancelled_at_every_pass(lambda: dialer(server.port, tls=tls))


async def test_a_cancelled_tunnel_leaves_no_socket(certificates: Certificates) -> None:
    tls = tls_context(str(certificates.authority))
    async with Server.open(ssl=server_context(certificates.good), play=_gone) as server:

        async def play(peer: Peer) -> None:
            await tunnel(peer, server.port, [])
            peer.close()

        async with Server.open(play=play) as proxy:
            url = f"http://127.0.0.1:{proxy.port}"
            await cancelled_at_every_pass(lambda: dialer(server.port, tls=tls, proxy=url))


@pytest.mark.parametrize("phase", ["connect", "tls", "proxy"])
async def test_a_cancel_in_a_silent_phase_closes_the_socket_at_once(phase: str) -> None:
    before = open_sockets()
    async with Server.open() as server:
        with full_backlog() as port:
            silent = {
                "connect": dialer(port),
                "tls": dialer(server.port, tls=tls_context(None)),
                "proxy": dialer(443, tls=tls_context(None), proxy=f"http://127.0.0.1:{server.port}"),
            }[phase]
            dial = asyncio.ensure_future(silent.dial(build))
            peer = await server.peer() if phase != "connect" else None
            await passes(20)
            assert not dial.done()
            dial.cancel()
            with pytest.raises(asyncio.CancelledError):
                await dial
            assert peer is None or await peer.hung_up()
    await until(lambda: open_sockets() <= before, BOUND)
