"""A socket takes what it can at once; the rest follows in order, and the end never overtakes the rest."""

import os
import socket
from functools import partial

import pytest

from gateway.delivery import socket_sink
from gateway.delivery.socket_sink import SocketSink
from gateway.delivery.watch import Watch
from tests.delivery.sockets import SMALL, Run, passes, receive, receive_all, reset, tcp_pair, unix_pair, until

PIECES = [b"%06d " % number * 3000 for number in range(20)]  # pieces of 21 kB: more than a small socket takes


class Owner:
    """The owner of a sink, which writes piece after piece while there is room, as a delivery pass does."""

    def __init__(self, sink: SocketSink, pieces: list[bytes] | None = None) -> None:
        self.sink = sink
        self.pieces = list(pieces or [])
        self.rooms = 0
        self.hang_ups = 0

    def on_writable(self) -> None:
        assert not self.sink.blocked
        assert not self.sink.unsent_bytes()
        self.rooms += 1
        self.go_on()

    def on_hang_up(self) -> None:
        self.hang_ups += 1
        self.sink.close()

    def go_on(self) -> None:
        while self.pieces and not self.sink.blocked:
            self.sink.write(self.pieces.pop(0))


def started(watch: Watch, ours: socket.socket, pieces: list[bytes] | None = None) -> tuple[SocketSink, Owner]:
    sink = SocketSink(ours, watch, body_end=b"")
    owner = Owner(sink, pieces)
    sink.start(owner)
    return sink, owner


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_bytes_are_on_the_wire_when_write_returns(run: Run) -> None:
    async def main() -> None:
        watch, (ours, client) = Watch(), unix_pair()
        sink, _ = started(watch, ours)
        sink.write(b"data: a\n\n")
        sink.write(b"data: b\n\n")
        assert client.recv(100) == b"data: a\n\ndata: b\n\n"
        assert (sink.blocked, sink.unsent_bytes()) == (False, 0)
        sink.close()
        watch.close()
        client.close()

    run(main())


@pytest.mark.parametrize("pair", [unix_pair, tcp_pair])
def test_a_full_socket_blocks_and_everything_follows_in_order(run: Run, pair: type) -> None:
    async def main() -> None:
        watch, (ours, client) = Watch(), pair(SMALL)
        sink, owner = started(watch, ours, PIECES)
        owner.go_on()
        assert sink.blocked
        assert 0 < sink.unsent_bytes() <= len(PIECES[0])
        expected = b"".join(PIECES)
        assert await receive(client, len(expected)) == expected
        await until(lambda: not sink.blocked)
        assert 0 < owner.rooms <= len(PIECES)
        assert sink.unsent_bytes() == 0
        sink.close()
        assert await receive_all(client) == b""
        watch.close()
        client.close()

    run(main())


def test_a_piece_that_needs_many_sends_is_told_when_its_last_byte_is_taken(run: Run) -> None:
    async def main() -> None:
        watch, (ours, client) = Watch(), unix_pair(SMALL)
        sink, owner = started(watch, ours)
        sink.write(b"x" * 200_000)
        left = [sink.unsent_bytes()]
        received = 0
        while sink.blocked:
            assert owner.rooms == 0
            received += len(await receive(client, 1000))
            await passes(2)
            left.append(sink.unsent_bytes())
        assert left == sorted(left, reverse=True)
        assert owner.rooms == 1
        await receive(client, 200_000 - received)
        sink.close()
        watch.close()
        client.close()

    run(main())


def test_a_socket_that_can_be_written_from_the_start_tells_its_owner_nothing(run: Run) -> None:
    async def main() -> None:
        watch, (ours, client) = Watch(), unix_pair()
        sink, owner = started(watch, ours)
        await passes()
        assert (owner.rooms, owner.hang_ups) == (0, 0)
        sink.close()
        watch.close()
        client.close()

    run(main())


def test_what_was_written_before_the_watching_began_is_finished_by_it(run: Run) -> None:
    async def main() -> None:
        watch, (ours, client) = Watch(), unix_pair(SMALL)
        sink = SocketSink(ours, watch, body_end=b"")
        sink.write(PIECES[0])
        assert sink.blocked
        owner = Owner(sink, PIECES[1:])
        sink.start(owner)
        expected = b"".join(PIECES)
        assert await receive(client, len(expected)) == expected
        sink.close()
        watch.close()
        client.close()

    run(main())


# --- the client leaves


@pytest.mark.parametrize("way", ["fin", "half", "rst"])
@pytest.mark.parametrize("full", [False, True])
def test_a_client_that_leaves_is_told_once_and_its_socket_closed(run: Run, way: str, full: bool) -> None:
    async def main() -> None:
        watch, (ours, client) = Watch(), tcp_pair(SMALL)
        descriptor = ours.fileno()
        sink, owner = started(watch, ours, PIECES if full else [])
        owner.go_on()
        await passes()
        assert sink.blocked == full
        if way == "rst":
            reset(client)
        elif way == "half":
            client.shutdown(socket.SHUT_WR)
        else:
            client.close()
        await until(lambda: owner.hang_ups)
        await passes()
        assert (owner.hang_ups, len(watch)) == (1, 0)
        assert not is_open(descriptor)
        watch.close()
        client.close()

    run(main())


def test_writing_to_a_client_that_is_gone_raises_nothing_and_the_hang_up_follows(run: Run) -> None:
    async def main() -> None:
        watch, (ours, client) = Watch(), tcp_pair()
        sink, owner = started(watch, ours)
        reset(client)
        sink.write(b"data: a\n\n")
        assert (sink.blocked, sink.unsent_bytes()) == (True, 0)
        await until(lambda: owner.hang_ups)
        watch.close()

    run(main())


# --- the end


@pytest.mark.parametrize("pair", [unix_pair, tcp_pair])
def test_a_close_with_nothing_unsent_closes_the_socket_at_once(run: Run, pair: type) -> None:
    async def main() -> None:
        watch, (ours, client) = Watch(), pair()
        descriptor = ours.fileno()
        sink, _ = started(watch, ours)
        sink.write(b"data: the end\n\n")
        sink.close()
        assert not is_open(descriptor)
        assert len(watch) == 0
        assert await receive_all(client) == b"data: the end\n\n"
        watch.close()
        client.close()

    run(main())


@pytest.mark.parametrize("pair", [unix_pair, tcp_pair])
def test_a_close_with_bytes_unsent_waits_for_the_client_to_take_them(run: Run, pair: type) -> None:
    async def main() -> None:
        watch, (ours, client) = Watch(), pair(SMALL)
        descriptor = ours.fileno()
        sink, owner = started(watch, ours)
        sink.write(PIECES[0] * 10)
        assert sink.blocked
        sink.close()
        await passes()
        assert is_open(descriptor)
        assert await receive_all(client) == PIECES[0] * 10
        assert not is_open(descriptor)
        assert (owner.rooms, owner.hang_ups, len(watch)) == (0, 0, 0)
        watch.close()
        client.close()

    run(main())


@pytest.mark.parametrize("way", ["fin", "half", "rst"])
def test_a_client_that_leaves_instead_of_taking_the_rest_ends_the_waiting(run: Run, way: str) -> None:
    async def main() -> None:
        watch, (ours, client) = Watch(), tcp_pair(SMALL)
        descriptor = ours.fileno()
        sink, owner = started(watch, ours)
        sink.write(b"x" * 5_000_000)
        sink.close()
        assert is_open(descriptor)
        if way == "rst":
            reset(client)
        elif way == "half":
            client.shutdown(socket.SHUT_WR)
        else:
            client.close()
        await until(lambda: not is_open(descriptor))
        assert (owner.hang_ups, len(watch)) == (0, 0)
        watch.close()
        client.close()

    run(main())


def test_a_client_that_never_takes_the_rest_is_closed_after_a_while(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_sink, "CLOSE_SECONDS", 0.02)

    async def main() -> None:
        watch, (ours, client) = Watch(), unix_pair(SMALL)
        descriptor = ours.fileno()
        sink, _ = started(watch, ours)
        sink.write(b"x" * 1_000_000)
        sink.close()
        assert is_open(descriptor)
        await until(lambda: not is_open(descriptor))
        assert len(watch) == 0
        watch.close()
        client.close()

    run(main())


def test_an_abort_forgets_what_is_unsent_and_the_close_is_immediate(run: Run) -> None:
    async def main() -> None:
        watch, (ours, client) = Watch(), unix_pair(SMALL)
        descriptor = ours.fileno()
        sink, _ = started(watch, ours)
        sink.write(PIECES[0] * 10)
        taken = len(PIECES[0]) * 10 - sink.unsent_bytes()
        sink.abort()
        assert sink.unsent_bytes() == 0
        sink.close()
        assert not is_open(descriptor)
        assert await receive_all(client) == (PIECES[0] * 10)[:taken]
        watch.close()
        client.close()

    run(main())


@pytest.mark.parametrize("unread", [1, 1000, 65536, 65537, 300_000])
def test_bytes_that_the_client_sent_do_not_take_the_last_events_with_them(run: Run, unread: int) -> None:
    async def main() -> None:
        watch, (ours, client) = Watch(), tcp_pair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
        sink, _ = started(watch, ours)
        sent = 0
        while sent < unread:
            sent += client.send(b"?" * (unread - sent))
            await passes()
        written = 0
        while not sink.blocked:
            sink.write(PIECES[0])
            written += len(PIECES[0])
        sink.close()
        assert len(await receive_all(client)) == written
        watch.close()
        client.close()

    run(main())


def test_sinks_are_closed_one_by_one_and_none_closes_anothers_socket(run: Run) -> None:
    async def main() -> None:
        watch = Watch()
        pairs = [unix_pair(SMALL) for _ in range(20)]
        sinks = [started(watch, ours)[0] for ours, _ in pairs]
        for number, sink in enumerate(sinks):
            sink.write(b"%03d" % number * (10_000 if number % 2 else 1))
        for sink in sinks[::-1]:
            sink.close()
        for number, (_, client) in enumerate(pairs):
            assert await receive_all(client) == b"%03d" % number * (10_000 if number % 2 else 1)
            client.close()
        assert len(watch) == 0
        watch.close()

    run(main())


def test_a_descriptor_that_is_given_out_again_belongs_to_the_new_sink_alone(run: Run) -> None:
    async def main() -> None:
        watch = Watch()
        used: list[int] = []
        for number in range(20):
            ours, client = tcp_pair()
            used.append(ours.fileno())
            sink, owner = started(watch, ours)
            sink.write(b"%d" % number)
            await passes()
            assert owner.hang_ups == 0
            if number % 3 == 0:
                sink.close()
                assert await receive_all(client) == b"%d" % number
            else:
                (reset if number % 3 == 1 else socket.socket.close)(client)
                await until(partial(getattr, owner, "hang_ups"))
            client.close()
            assert len(watch) == 0
        assert len(set(used)) < len(used)
        watch.close()

    run(main())
