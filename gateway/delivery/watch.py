"""Shell: one edge-triggered epoll (epoll(7)) for every socket that was taken over from the HTTP server.

The event loop watches a single descriptor however many subscribers there are; each of them is a row in the kernel's
table and one dictionary entry here. What is reported: the peer hung up (FIN, RST), or there is room to write again to
a socket that was full once: nearly all sockets never are, and so cost no look when they are new.
"""

import asyncio
import contextlib
import select
from typing import Protocol

MAX_EVENTS = 256  # events taken in one turn of the loop; the others keep the descriptor readable for the next turn

_HANG_UP = select.EPOLLRDHUP | select.EPOLLET
_HANG_UP_OR_ROOM = _HANG_UP | select.EPOLLOUT
_GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


class Watched(Protocol):
    """The owner of one socket, who is told what happens to it."""

    def on_hang_up(self) -> None:
        """The peer is gone; the descriptor is no longer watched."""

    def on_room(self) -> None:
        """The socket's buffer has room, after it had none."""


class Watch:
    """The watch over many sockets: reports hang-ups and new room to their owners."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._watched: dict[int, Watched] = {}
        self._awaiting_room: set[int] = set()  # descriptors of the sockets that were full once
        self._loop.add_reader(self._epoll.fileno(), self._on_events)

    def __len__(self) -> int:
        return len(self._watched)

    def add(self, descriptor: int, watched: Watched) -> None:
        """Watch a socket for a hang-up. One that happened before is reported too: epoll reports the state it finds.

        Raises `OSError` if the kernel watches no more sockets (epoll_ctl(2), ENOSPC).
        """
        self._epoll.register(descriptor, _HANG_UP)
        self._watched[descriptor] = watched

    def await_room(self, descriptor: int) -> None:
        """Watch a socket for room, too, since it is full. Room that it has got since then is reported as well."""
        if descriptor in self._watched and descriptor not in self._awaiting_room:
            self._awaiting_room.add(descriptor)
            self._epoll.modify(descriptor, _HANG_UP_OR_ROOM)

    def remove(self, descriptor: int) -> None:
        """Watch the socket no more; to be called before its descriptor is closed."""
        if self._watched.pop(descriptor, None) is not None:
            self._awaiting_room.discard(descriptor)
            with contextlib.suppress(OSError):
                self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Watch nothing any more; the sockets stay open."""
        self._loop.remove_reader(self._epoll.fileno())
        self._watched.clear()
        self._awaiting_room.clear()
        self._epoll.close()

    def _on_events(self) -> None:
        for descriptor, events in self._epoll.poll(0, MAX_EVENTS):
            watched = self._watched.get(descriptor)
            if watched is None:
                continue  # removed by an earlier event of this very turn
            if events & _GONE:
                self.remove(descriptor)
                watched.on_hang_up()
            else:
                watched.on_room()
