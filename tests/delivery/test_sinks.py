"""A subscriber on a transport: what is written is on the wire at once, behind the head and in order."""

import asyncio
import os
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from gateway.borrowed_socket import BorrowedSocket
from gateway.delivery.sinks import MAX_UNSENT_BYTES, TransportSink, send_nowait
from tests.delivery.sockets import PATIENCE, SMALL, Run, passes, receive_all, tcp_pair, unix_pair
from tests.kit.certificates import Certificates, server_context


class Served(asyncio.Protocol):
    """The server's side of a connection; it notes whether the transport has paused its writing."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.borrowed = BorrowedSocket(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.borrowed.give_back()

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False


async def connected() -> tuple[Served, socket.socket]:
    ours, client = unix_pair()
    _, served = await asyncio.get_running_loop().connect_accepted_socket(Served, ours)
    return served, client


async def connected_by_tcp(certificates: Certificates | None) -> tuple[Served, socket.socket]:
    """A pair of sockets that speak TLS if there are certificates: what the client reads is what is on the wire."""
    loop = asyncio.get_running_loop()
    ours, client = tcp_pair(SMALL)
    client.settimeout(PATIENCE)
    served = Served()
    if certificates is None:
        await loop.connect_accepted_socket(lambda: served, ours)
        return served, client
    context = ssl.create_default_context(cafile=certificates.authority)
    wire = client.dup()
    greeted = loop.run_in_executor(None, lambda: context.wrap_socket(client, server_hostname="localhost"))
    await loop.connect_accepted_socket(lambda: served, ours, ssl=server_context(certificates.good))
    (await greeted).close()
    return served, wire


def test_the_head_goes_out_with_the_first_bytes_and_both_are_on_the_wire_when_write_returns(run: Run) -> None:
    async def main() -> None:
        served, client = await connected()
        sink = TransportSink(served.transport, served.borrowed, body_end=b"")
        sink.begin_with(b"head ")
        sink.write(b"first ")
        assert client.recv(100) == b"head first "
        assert sink.direct is not None  # from now on the transport is not needed
        sink.write(b"second ")
        assert client.recv(100) == b"second "
        sink.close()
        served.transport.close()

    run(main())


def test_nothing_is_written_before_there_is_something_behind_the_head(run: Run) -> None:
    async def main() -> None:
        served, client = await connected()
        sink = TransportSink(served.transport, served.borrowed, body_end=b"")
        sink.begin_with(b"head")
        sink.close()
        served.transport.close()
        assert await receive_all(client) == b""

    run(main())


def test_what_the_transport_still_holds_goes_out_before_the_head(run: Run) -> None:
    async def main() -> None:
        served, client = await connected()
        before = b"b" * (4 * MAX_UNSENT_BYTES)
        served.transport.write(before)
        assert served.transport.get_write_buffer_size()
        sink = TransportSink(served.transport, served.borrowed, body_end=b"")
        sink.begin_with(b"head ")
        sink.write(b"first ")
        assert sink.direct is None
        sink.close()
        served.transport.close()
        assert await receive_all(client) == before + b"head first "

    run(main())


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_client_that_reads_slowly_is_seen_to_read_while_the_transport_waits_for_room(
    run: Run, tmp_path: Path, encrypted: bool
) -> None:
    certificates = Certificates.make(tmp_path) if encrypted else None

    async def main() -> None:
        served, client = await connected_by_tcp(certificates)
        try:
            while not served.is_paused:  # an earlier answer fills the transport
                served.transport.write(b"b" * MAX_UNSENT_BYTES)
                await passes()
            sink = TransportSink(served.transport, served.borrowed, body_end=b"")
            sink.write(b"first ")
            unsent, in_kernel = sink.unsent_bytes(), sink.kernel_bytes()
            assert unsent
            assert in_kernel
            while sink.kernel_bytes() == in_kernel:
                assert client.recv(512)
            assert sink.kernel_bytes() < in_kernel
            assert sink.unsent_bytes() == unsent
            sink.close()
            assert sink.kernel_bytes() == 0
        finally:
            served.transport.abort()
            client.close()

    run(main())


def test_of_a_transport_that_is_closed_the_kernel_holds_nothing(run: Run) -> None:
    async def main() -> None:
        served, client = await connected()
        sink = TransportSink(served.transport, served.borrowed, body_end=b"")
        sink.write(b"first ")
        assert sink.kernel_bytes()
        served.transport.abort()
        assert sink.kernel_bytes() == 0
        sink.close()
        assert await receive_all(client) == b"first "

    run(main())


def test_a_first_send_for_which_the_kernel_has_no_room_waits_in_the_transport(run: Run) -> None:
    async def main() -> None:
        served, client = await connected()
        filled, own = 0, served.transport.get_extra_info("socket")
        try:
            while True:
                filled += os.write(own.fileno(), b"b" * 4096)
        except BlockingIOError:
            assert not served.transport.get_write_buffer_size()
        sink = TransportSink(served.transport, served.borrowed, body_end=b"")
        sink.begin_with(b"head ")
        sink.write(b"first ")
        assert not sink.blocked
        assert sink.unsent_bytes() == len(b"head first ")
        sink.close()
        served.transport.close()
        assert await receive_all(client) == b"b" * filled + b"head first "

    run(main())


def test_what_the_kernel_does_not_take_waits_in_the_transport_and_stays_in_order(run: Run) -> None:
    async def main() -> None:
        served, client = await connected()
        sink = TransportSink(served.transport, served.borrowed, body_end=b"")
        sink.begin_with(b"head ")
        pieces = [bytes([65 + number]) * (2 * MAX_UNSENT_BYTES) for number in range(8)]
        for piece in pieces:
            sink.write(piece)
        assert sink.unsent_bytes()
        assert served.is_paused
        sink.close()
        served.transport.close()
        assert await receive_all(client) == b"head " + b"".join(pieces)

    run(main())


def test_a_client_that_is_gone_blocks_the_sink_and_raises_nothing(run: Run) -> None:
    async def main() -> None:
        served, client = await connected()
        sink = TransportSink(served.transport, served.borrowed, body_end=b"")
        sink.begin_with(b"head ")
        client.close()
        sink.write(b"first ")
        assert sink.blocked
        sink.close()
        served.transport.close()

    run(main())


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_no_answer_of_a_connection_opens_a_descriptor(run: Run) -> None:
    async def main() -> None:
        served, client = await connected()
        before = open_files()
        for word in (b"first ", b"second "):
            sink = TransportSink(served.transport, served.borrowed, body_end=b"")
            sink.begin_with(b"head ")
            sink.write(word)
            assert sink.direct is served.borrowed.take()
            assert open_files() == before
            sink.close()
            assert open_files() == before
        sink.write(b"late")  # is written through the transport
        served.transport.close()
        assert await receive_all(client) == b"head first head second late"

    run(main())


def test_nothing_is_sent_to_the_descriptor_of_a_transport_that_is_closed(run: Run) -> None:
    async def main() -> None:
        served, client = await connected()
        sink = TransportSink(served.transport, served.borrowed, body_end=b"")
        sink.begin_with(b"head ")
        served.transport.abort()
        sink.write(b"first ")
        assert sink.blocked
        assert sink.direct is None
        sink.close()
        assert await receive_all(client) == b""

    run(main())


def test_what_is_sent_behind_the_end_of_a_connection_reaches_nobody(run: Run) -> None:
    async def main() -> None:
        served, client = await connected()
        sink = TransportSink(served.transport, served.borrowed, body_end=b"")
        sink.write(b"first ")
        direct = sink.direct
        assert direct is not None
        descriptor = direct.fileno()
        served.transport.abort()
        await passes()
        ours, theirs = unix_pair()  # the next client gets the number
        assert descriptor in (ours.fileno(), theirs.fileno())
        assert send_nowait(direct, b"late ") == -1
        sink.write(b"later ")
        assert sink.blocked
        assert sink.kernel_bytes() == 0
        sink.close()
        ours.close()
        assert await receive_all(theirs) == b""
        assert await receive_all(client) == b"first "

    run(main())
