"""Shell: one stream from its publisher through a running peer to its subscribers.

In: a peer and the events of a stream. Out: a channel: the peer on its core, a publisher connected to it, subscribers
that can join; figures of what it costs. Invariant: nothing waits for an answer of the peer while a pass is measured,
and what a channel has opened is closed when its `with` block ends, the peer last.
"""

import contextlib
import math
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import urlsplit

from bench.kit.figures import Figures, Sample
from bench.kit.loop import clock
from bench.kit.machine import memory_kib, raise_open_files
from bench.kit.peers import AIOHTTP, FEED, GATEWAY, NCHAN, C, Peer, PeerFailure, Server, ask, started
from bench.kit.script import MODEL, STREAM_HEAD, Script, chunk
from bench.kit.subscribers import Subscribers

TIMEOUT = 10.0  # for a peer to take or to answer something
JOIN_SECONDS = 60.0
SETTLE_SECONDS = 0.5  # from the last response head to the look at the memory: joining takes memory, too
AT_REST_SECONDS = 0.05  # until the kernel has booked the CPU of a process that waits
PASS_SECONDS = 30.0  # the longest that everybody may take to get what was published
WARM_UP_EVENTS = 3
RESERVED_FILES = 500
_UPLOAD = b"POST /pub HTTP/1.1\r\nHost: bench\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(slots=True)
class Publisher:
    """How events get into a peer: by one connection, which it answers or not."""

    script: Script
    opening: bytes = _UPLOAD
    piece: Callable[[Script, int], bytes] = lambda script, number: script.chunks[number]  # the bytes of an event
    path: str = "/sub"  # what subscribers ask for
    upstream_port: int = 0  # what the peer calls, if it calls anybody
    sock: socket.socket | None = None

    def open(self, port: int) -> None:
        self._use(socket.create_connection(("127.0.0.1", port), TIMEOUT))

    def send(self, numbers: Sequence[int]) -> None:
        """These events, in one send however many they are. Raises `OSError` if an earlier one was refused."""
        assert self.sock is not None
        with contextlib.suppress(BlockingIOError):
            answers = self.sock.recv(1 << 20, socket.MSG_DONTWAIT)
            if b"HTTP/1.1 4" in answers or b"HTTP/1.1 5" in answers:
                raise OSError(f"the publisher was answered {answers[:300]!r}")
        self.sock.sendall(b"".join(self.piece(self.script, number) for number in numbers))

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()

    def _use(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(TIMEOUT), 0))
        sock.setblocking(True)
        sock.sendall(self.opening)
        self.sock = sock


class Upstream(Publisher):
    """What the gateway calls, over one connection."""

    def __init__(self, script: Script) -> None:
        super().__init__(script, STREAM_HEAD)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(TIMEOUT)
        self.upstream_port = self._listener.getsockname()[1]

    def accept(self, request_ends: bytes) -> None:
        """Take the gateway's call, and answer it with the head of a stream."""
        sock, _ = self._listener.accept()
        request = b""
        while b"\r\n\r\n" not in request or not request.endswith(request_ends):
            request += sock.recv(1 << 16)
        self._use(sock)

    def close(self) -> None:
        super().close()
        self._listener.close()


class Provider(Upstream):
    """A model provider behind a detached stream."""

    def open(self, port: int) -> None:
        body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "Tell."}]}
        url = urlsplit(ask(port, "/v1/streams", body)["events_url"])  # a path alone, or a whole URL
        self.path = f"{url.path}?{url.query}" if url.query else url.path
        self.accept(b"}")


class Source(Upstream):
    """The source of a feed, which the gateway calls when somebody subscribes."""

    def open(self, port: int) -> None:
        self.path = "/v1/feeds/bench/events"
        with socket.create_connection(("127.0.0.1", port), TIMEOUT) as first:
            first.sendall(f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            self.accept(b"\r\n\r\n")


def _with_id(script: Script, number: int) -> bytes:
    """A chunk with an id as long as the gateway's: the C loop sends to its subscribers what was uploaded."""
    return chunk(b"id: c0ffee000000-%d\n%b" % (number, script.events[number]))


def _post(script: Script, number: int) -> bytes:
    """A POST per event, pipelined; Nchan adds the framing of its own."""
    data = script.events[number][len("data: ") : -2]
    return b"POST /pub HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data)


LineUp = dict[str, tuple[Peer, Callable[[Script], Publisher]]]
PEERS: LineUp = {
    GATEWAY: (Peer(GATEWAY), Provider),
    NCHAN: (Peer(NCHAN), partial(Publisher, opening=b"", piece=_post)),
    C: (Peer(C), partial(Publisher, piece=_with_id)),
    AIOHTTP: (Peer(AIOHTTP, "queues"), Publisher),
}
WITH_FEED: LineUp = {**PEERS, FEED: (Peer(FEED), Source)}


@dataclass(frozen=True, slots=True)
class Channel:
    """A running peer with its publisher and its subscribers."""

    server: Server
    publisher: Publisher
    subscribers: Subscribers

    def publish(self, count: int) -> None:
        """Send the next `count` events; does not wait for anybody."""
        self.publisher.send(self.subscribers.publish(count))

    def warm_up(self) -> None:
        """The first events, to everybody."""
        self.publish(WARM_UP_EVENTS)
        self.subscribers.wait_all(PASS_SECONDS)

    def join(self, size: int) -> Figures:
        """New subscribers; KiB of memory, and CPU of each."""
        before, cpu = memory_kib(self.server.pid), self.server.cpu()
        self.subscribers.join(size, JOIN_SECONDS)
        figures = {"join_cpu_us": (self.server.cpu() - cpu) / size * 1e6}
        self.subscribers.settle(SETTLE_SECONDS)
        after = memory_kib(self.server.pid)
        return figures | {f"{kind}_kib": (after[kind] - before[kind]) / size for kind in after}

    def spent(self, events: int, act: Callable[[], object]) -> Sample:
        """What an act took, that handles `events` events: the clock and the load's CPU until it has returned, the
        peer's CPU until the peer has come to rest, when the kernel books it."""
        begin = self.sample()
        act()
        end = self.sample()
        self.subscribers.settle(AT_REST_SECONDS)
        return Sample(end.seconds, events, self.server.cpu(), end.own_cpu) - replace(begin, events=0)

    def passes(self, seconds: float, events: int = 1, most: float = math.inf) -> tuple[Sample, int]:
        """Publish, wait until everybody has it, again; what it took, and how many times."""
        begin, passes = self.sample(), 0
        while passes < most and clock() < begin.seconds + seconds:
            self.publish(events)
            self.subscribers.wait_all(PASS_SECONDS)
            passes += 1
        return self.sample() - begin, passes

    def sample(self) -> Sample:
        """The counters now; its events are deliveries."""
        return Sample(clock(), self.subscribers.received, self.server.cpu(), time.process_time())


@contextlib.contextmanager
def channel(name: str, script: Script, core: int, line_up: LineUp = PEERS) -> Iterator[Channel]:
    """Start one of the peers on `core`, connect its publisher. Raises `PeerFailure`."""
    peer, publish = line_up[name]
    publisher = publish(script)
    with started(peer, publisher.upstream_port, core) as server, contextlib.closing(publisher):
        port = server.target.port
        try:
            publisher.open(port)
        except OSError as error:
            raise PeerFailure(f"{name}: the publisher: {error}") from error
        with contextlib.closing(Subscribers(port, publisher.path, script.events)) as subscribers:
            yield Channel(server, publisher, subscribers)


def most_subscribers() -> int:
    """How many the limit of open files allows."""
    return raise_open_files() - RESERVED_FILES
