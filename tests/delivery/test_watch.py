"""One descriptor in the event loop tells of every socket that hangs up or has room again, and of no other."""

import contextlib
import socket
from functools import partial

import pytest

from gateway.delivery.watch import MAX_EVENTS, Watch
from tests.delivery.sockets import SMALL, Run, passes, receive, reset, tcp_pair, unix_pair, until


class Seen:
    """Counts the calls that it gets from a watch."""

    def __init__(self) -> None:
        self.hang_ups = 0
        self.rooms = 0

    def on_hang_up(self) -> None:
        self.hang_ups += 1

    def on_room(self) -> None:
        self.rooms += 1

    def has_room(self, times: int) -> bool:
        return self.rooms >= times


def watched(watch: Watch, ours: socket.socket) -> Seen:
    """Watch a socket for hang-ups and for room."""
    seen = Seen()
    watch.add(ours.fileno(), seen)
    watch.await_room(ours.fileno())
    return seen


def leave(client: socket.socket, way: str) -> None:
    if way == "half":
        client.shutdown(socket.SHUT_WR)
    elif way == "rst":
        reset(client)
    else:
        client.close()


@pytest.mark.parametrize("way", ["fin", "half", "rst"])
def test_a_hang_up_is_told_once_and_ends_the_watching(run: Run, way: str) -> None:
    async def main() -> None:
        watch, (ours, client) = Watch(), tcp_pair()
        seen = watched(watch, ours)
        await passes()
        assert (seen.hang_ups, len(watch)) == (0, 1)
        leave(client, way)
        await until(lambda: seen.hang_ups)
        await passes()
        assert (seen.hang_ups, len(watch)) == (1, 0)
        watch.close()
        ours.close()
        client.close()

    run(main())


@pytest.mark.parametrize("way", ["fin", "half", "rst"])
def test_a_client_that_left_before_it_was_watched_is_told_too(run: Run, way: str) -> None:
    async def main() -> None:
        watch, (ours, client) = Watch(), tcp_pair()
        leave(client, way)
        seen = watched(watch, ours)
        await until(lambda: seen.hang_ups)
        watch.close()
        ours.close()
        client.close()

    run(main())


def test_bytes_that_a_client_sends_are_no_hang_up_and_are_not_told_at_all(run: Run) -> None:
    async def main() -> None:
        watch, (ours, client) = Watch(), tcp_pair()
        seen = watched(watch, ours)
        await until(lambda: seen.rooms)
        for _ in range(5):
            client.send(b"?")
            await passes()
        assert (seen.hang_ups, seen.rooms) == (0, 1)
        watch.close()
        ours.close()
        client.close()

    run(main())


def fill(ours: socket.socket) -> int:
    """Write until the kernel takes no more; returns how many bytes it took."""
    total = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            total += ours.send(b"x" * 1000)
    return total


@pytest.mark.parametrize("pair", [unix_pair, tcp_pair])
def test_room_is_told_when_a_full_socket_can_be_written_again(run: Run, pair: type) -> None:
    async def main() -> None:
        watch, (ours, client) = Watch(), pair(SMALL)
        seen = watched(watch, ours)
        await until(lambda: seen.rooms == 1)  # told at the registration, because the socket was writable then
        for round_number in range(2, 5):
            total = fill(ours)
            await passes()
            assert seen.rooms == round_number - 1
            assert len(await receive(client, total)) == total
            await until(partial(seen.has_room, round_number))
            seen.rooms = round_number
        watch.close()
        ours.close()
        client.close()

    run(main())


def test_a_socket_that_was_never_full_is_told_of_no_room_and_one_that_was_is_even_if_it_has_room_by_then(
    run: Run,
) -> None:
    async def main() -> None:
        watch, (ours, client) = Watch(), tcp_pair(SMALL)
        seen = Seen()
        watch.add(ours.fileno(), seen)
        await passes()
        assert seen.rooms == 0
        assert len(await receive(client, size := fill(ours))) == size
        await passes()
        assert seen.rooms == 0
        watch.await_room(ours.fileno())
        await until(lambda: seen.rooms == 1)
        leave(client, "fin")
        await until(lambda: seen.hang_ups)
        watch.await_room(ours.fileno())  # nothing: it is not watched any more
        watch.close()
        ours.close()

    run(main())


def test_a_socket_that_was_removed_is_told_nothing(run: Run) -> None:
    async def main() -> None:
        watch, (ours, client) = Watch(), unix_pair()
        seen = watched(watch, ours)
        watch.remove(ours.fileno())
        watch.remove(ours.fileno())
        client.close()
        await passes()
        assert (seen.hang_ups, seen.rooms, len(watch)) == (0, 0, 0)
        watch.close()
        ours.close()

    run(main())


def test_a_socket_that_an_earlier_event_of_the_same_pass_removes_is_told_nothing(run: Run) -> None:
    async def main() -> None:
        watch = Watch()
        pairs = [unix_pair() for _ in range(2)]
        found: list[str] = []

        class Remover:
            def __init__(self, name: str, other: socket.socket) -> None:
                self.name, self.other = name, other

            def on_hang_up(self) -> None:
                found.append(self.name)
                watch.remove(self.other.fileno())
                self.other.close()

            def on_room(self) -> None:
                """Writable from the beginning."""

        (first, one_client), (second, other_client) = pairs
        watch.add(first.fileno(), Remover("first", second))
        watch.add(second.fileno(), Remover("second", first))
        one_client.close()
        other_client.close()
        await until(lambda: found)
        await passes()
        assert len(found) == 1
        assert len(watch) == 0
        watch.close()
        first.close()
        second.close()

    run(main())


def test_a_descriptor_that_is_given_out_again_is_another_socket(run: Run) -> None:
    async def main() -> None:
        watch = Watch()
        previous: set[int] = set()
        for way in ("fin", "removed", "rst") * 3:
            ours, client = tcp_pair()
            reused = ours.fileno() in previous
            seen = watched(watch, ours)
            await until(partial(getattr, seen, "rooms"))
            assert seen.hang_ups == 0
            previous.add(ours.fileno())
            if way == "removed":
                watch.remove(ours.fileno())
            else:
                leave(client, way)
                await until(partial(getattr, seen, "hang_ups"))
            ours.close()
            client.close()
        assert reused
        watch.close()

    run(main())


def test_a_duplicate_that_stays_open_elsewhere_is_told_no_more(run: Run) -> None:
    """Closing a descriptor does not end its watching while another descriptor of the same socket is open."""

    async def main() -> None:
        watch, (ours, client) = Watch(), tcp_pair()
        duplicate = ours.dup()
        seen = watched(watch, ours)
        await until(lambda: seen.rooms)
        watch.remove(ours.fileno())
        ours.close()
        client.close()
        await passes()
        assert seen.hang_ups == 0
        watch.close()
        duplicate.close()

    run(main())


def test_more_hang_ups_than_one_pass_takes_are_all_told(run: Run) -> None:
    async def main() -> None:
        watch = Watch()
        pairs = [unix_pair() for _ in range(2 * MAX_EVENTS + 10)]
        all_seen = [watched(watch, ours) for ours, _ in pairs]
        await until(lambda: all(seen.rooms for seen in all_seen))
        for _, client in pairs:
            client.close()
        await until(lambda: len(watch) == 0)
        assert {seen.hang_ups for seen in all_seen} == {1}
        watch.close()
        for ours, _ in pairs:
            ours.close()

    run(main())


def test_after_close_nothing_is_told(run: Run) -> None:
    async def main() -> None:
        watch, (ours, client) = Watch(), unix_pair()
        seen = watched(watch, ours)
        watch.close()
        client.close()
        await passes()
        assert (seen.hang_ups, seen.rooms, len(watch)) == (0, 0, 0)
        watch.remove(ours.fileno())
        ours.close()

    run(main())
