"""The listeners: where clients connect, which clients may connect, and which files stay behind."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config import Listen, ServerSettings
from gateway.errors import ConfigError
from gateway.http.client_socket import MAX_UNSENT_IN_KERNEL
from gateway.run.listeners import Listeners


class Greeter(asyncio.Protocol):
    """Says a word to whoever connects, and hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"welcome")
        transport.close()


def listeners(address: str, *handed_over: socket.socket) -> Listeners:
    return Listeners(ServerSettings(listen=Listen.parse(address)), handed_over)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A socket as a service manager hands it over."""
    with socket.create_server(("127.0.0.1", 0)) as handed_over:
        handed_over.setblocking(False)
        yield handed_over


async def greeting(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_port_that_the_kernel_chose_is_known() -> None:
    opened = listeners("127.0.0.1:0")
    await opened.open(Greeter)
    assert opened.port > 0
    assert opened.address == f"127.0.0.1:{opened.port}"
    port = opened.port
    assert await greeting(port) == b"welcome"
    opened.close()
    with pytest.raises(ConnectionRefusedError):
        await greeting(port)


async def test_a_connection_has_the_options_of_its_listening_socket() -> None:
    found: list[list[int]] = []

    class Looker(Greeter):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            connected = transport.get_extra_info("socket")
            options = [
                (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                (socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT),
                (socket.IPPROTO_TCP, socket.TCP_NODELAY),
            ]
            found.append([connected.getsockopt(*option) for option in options])
            super().connection_made(transport)

    opened = listeners("127.0.0.1:0")
    await opened.open(Looker)
    assert await greeting(opened.port) == b"welcome"
    opened.close()
    assert opened.passes_options_on
    assert found == [[1, MAX_UNSENT_IN_KERNEL, 1]]


def test_a_socket_that_was_handed_over_may_have_connections_from_before_its_options(listening: socket.socket) -> None:
    assert not listeners("127.0.0.1:1", listening).passes_options_on


async def test_sockets_that_were_handed_over_win_and_stay_open(listening: socket.socket) -> None:
    opened = listeners("127.0.0.1:1", listening)
    await opened.open(Greeter)
    port = listening.getsockname()[1]
    assert (opened.port, opened.address) == (port, f"127.0.0.1:{port}")
    assert await greeting(port) == b"welcome"
    opened.close()


async def test_a_port_that_is_taken_is_a_fault_of_the_configuration(listening: socket.socket) -> None:
    port = listening.getsockname()[1]
    with pytest.raises(ConfigError, match=rf"server\.listen: cannot listen on 127\.0\.0\.1:{port}: "):
        await listeners(f"127.0.0.1:{port}").open(Greeter)


async def test_a_socket_that_a_crash_left_is_replaced_and_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "listen"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    opened = listeners(f"unix:{path}")
    await opened.open(Greeter)
    assert opened.address == f"unix:{path}"
    reader, writer = await asyncio.open_unix_connection(path)
    assert await reader.read() == b"welcome"
    writer.close()
    await writer.wait_closed()
    with pytest.raises(RuntimeError, match="not listening on a port"):
        assert opened.port
    opened.close()
    opened.remove_socket_file()
    assert not path.exists()


async def test_a_file_in_place_of_the_socket_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "listen"
    path.write_text("notes")
    opened = listeners(f"unix:{path}")
    with pytest.raises(ConfigError):
        await opened.open(Greeter)
    opened.remove_socket_file()
    assert path.read_text() == "notes"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/run/nowhere"])
def test_without_a_key_this_machine_may_connect(address: str) -> None:
    listeners(address).check_loopback()


@pytest.mark.parametrize("address", ["0.0.0.0:1", ":1", "192.0.2.1:1", "gate.example.com:1"])
def test_without_a_key_nobody_else_may(address: str, listening: socket.socket) -> None:
    with pytest.raises(ConfigError, match="is open to the network, and there is no API key"):
        listeners(address).check_loopback()
    listeners(address, listening).check_loopback()  # the socket that was handed over counts, and it is on loopback
