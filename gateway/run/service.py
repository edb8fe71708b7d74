"""Wiring: a configuration becomes a running gateway; start, reload, drain and stop in one readable order."""

import asyncio
import logging
import os
import resource
import socket
import ssl
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from aiohttp import web

from gateway import clock, config
from gateway.access import token_keys
from gateway.access.bank import Bank, Lease
from gateway.access.books_thread import BooksThread
from gateway.access.callers import Gate
from gateway.access.key_ring import KeyRing
from gateway.access.local_bank import LocalBank
from gateway.access.sqlite_books import SqliteBooks
from gateway.cluster.directory import Directory
from gateway.cluster.local_directory import LocalDirectory
from gateway.completion.answer import Record
from gateway.config import Listen
from gateway.delivery.watch import Watch
from gateway.dialects.dialect import Dialect
from gateway.dialects.registry import DIALECTS
from gateway.errors import ConfigError, LedgerError
from gateway.feeds import rings as feed_state
from gateway.feeds.built_in import BuiltInFeed
from gateway.feeds.source import SourceFeed
from gateway.http.admission import Admission
from gateway.http.app import AppParts, build_app
from gateway.http.capacity import Capacity
from gateway.http.client_connection import ClientProtocol
from gateway.http.fast_path import FastPath
from gateway.http.in_force import InForce
from gateway.http.opening import OpeningParts
from gateway.http.places import Places
from gateway.http.streamed_reply import ReplyParts
from gateway.http.viewing import jittered_retry_ms
from gateway.observe import logs, trace
from gateway.observe.loop_lag import LoopLag
from gateway.observe.metrics import Metrics
from gateway.observe.trace import Span
from gateway.run import build as assembly
from gateway.run import settlement
from gateway.run.gc_policy import GarbagePolicy
from gateway.run.statistics import FEED, GatewayStatistics, StatisticsSources
from gateway.stream.hub import Hub
from gateway.tasks import Tasks

KEEPALIVE_SECONDS = 75.0  # between two requests of one client; above the 60 s of common proxies
RESERVED_DESCRIPTORS = 512  # for upstreams, files and the listener; a POST stream needs two more of its own
LEDGER_SECONDS = 5.0  # at a stop, for the records that are not written yet
SHUTDOWN_SECONDS = 0.5  # for handlers to write their last words once everything they serve has ended
SWITCH_SECONDS = 0.0005  # how long the books' thread may keep the interpreter; with Python's own 5 ms a token is late
BACKLOG = 4096  # a burst of subscribers must not meet a full accept queue; the kernel caps it at somaxconn

_log = logging.getLogger("rivergate")


class Service:
    """One gateway in one event loop."""

    def __init__(
        self,
        settings: config.Config,
        sockets: Sequence[socket.socket] = (),
        *,
        build_bank: Callable[[BooksThread, KeyRing], Bank] = LocalBank,
        build_directory: Callable[[Hub], Directory] = LocalDirectory,
        dialects: Sequence[Dialect] = DIALECTS,
    ) -> None:
        """`sockets`: listening ones that were handed over; they win over `server.listen`.

        The bank and the directory are those of a gateway of one process, unless others are built.
        """
        self._config = settings
        self._sockets = list(sockets)
        self._tasks = Tasks()
        self._lag = LoopLag()
        self._garbage = GarbagePolicy(lambda: self._hub.statistics().running == 0)
        self._books = BooksThread(SqliteBooks.open(Path(settings.storage.path)))
        self._keys = KeyRing(self._books)
        self._bank = build_bank(self._books, self._keys)
        self._upstreams = assembly.build_upstreams(settings)
        self._tracing = trace.build(os.environ)
        self._hub = Hub(settings.stream.retain_seconds, settings.stream.max_retained_bytes)
        signing_keys = token_keys.load(Path(settings.storage.path))
        self._in_force = InForce(settings, self._upstreams.router, signing_keys)
        self._capacity = Capacity()
        self._feeds: dict[str, SourceFeed | BuiltInFeed] = {}
        self._started_at = int(clock.wall_time())
        self._statistics = self._build_statistics()
        self._metrics = Metrics(self._statistics.readings)
        self._feeds[FEED] = self._statistics.feed()
        rings = feed_state.take(Path(settings.storage.path))
        self._feeds.update(assembly.build_feeds(settings, self._tasks, rings))
        self._reply_parts = self._build_reply_parts(build_directory(self._hub))
        self._write_ledger: asyncio.Task[None] | None = None
        app = self._build_app(dialects)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        self._servers: list[asyncio.Server] = []
        self._tls: ssl.SSLContext | None = None

    def _build_statistics(self) -> GatewayStatistics:
        sources = StatisticsSources(
            in_force=self._in_force,
            hub=self._hub,
            keys=self._keys,
            bank=self._bank,
            capacity=self._capacity,
            feeds=self._feeds,
            lag=self._lag,
            pace=self._upstreams.pace,
            started_at=self._started_at,
        )
        return GatewayStatistics(sources)

    def _build_reply_parts(self, directory: Directory) -> ReplyParts:
        """What every answer of a completion uses."""
        in_force = self._in_force
        admission = Admission(self._capacity, Gate(self._keys, clock.wall_time), in_force)
        opening = OpeningParts(
            in_force=in_force,
            admission=admission,
            bank=self._bank,
            directory=directory,
            hub=self._hub,
            tasks=self._tasks,
            tracing=self._tracing,
            book=self._settle,
        )
        places = Places(lambda: in_force.config.stream)
        return ReplyParts(opening=opening, places=places, admission=admission, in_force=in_force)

    def _build_app(self, dialects: Sequence[Dialect]) -> web.Application:
        parts = AppParts(
            reply=self._reply_parts,
            dialects=dialects,
            books=self._books,
            capacity=self._capacity,
            feeds=self._feeds,
            exposition=self._metrics.exposition,
            started_at=self._started_at,
        )
        return build_app(parts)

    @property
    def port(self) -> int:
        """The port that is listened on, also when the configuration left it to the kernel (0)."""
        for server in self._servers:
            for one in server.sockets:
                if one.family in (socket.AF_INET, socket.AF_INET6):
                    return int(one.getsockname()[1])
        raise RuntimeError("not listening on a port")

    async def start(self) -> None:
        """Listen. Raises `ConfigError` if that cannot or must not be; the next process then finds the rings."""
        try:
            await self._start()
        except ConfigError:
            self._close_feeds()
            self._books.close()
            raise

    async def _start(self) -> None:
        try:
            self._keys.load()
        except LedgerError as error:
            raise ConfigError([error.fault]) from None
        self._check_who_may_reach()
        descriptors = raise_fd_limit()
        self._capacity.watch = Watch() if sys.platform == "linux" else None
        await self._runner.setup()
        try:
            self._servers = await self._listen()
        except OSError as error:
            await self._runner.cleanup()
            reason = error.strerror or str(error)
            raise ConfigError([f"server.listen: cannot listen on {self._config.server.listen}: {reason}"]) from None
        self._capacity.max_connections = self._room_for_connections(descriptors)
        self._write_ledger = self._tasks.start(self._bank.run(), "ledger")
        self._tasks.start(self._keys.run(), "keys")
        self._lag.start()
        self._upstreams.pace.start()
        sys.setswitchinterval(SWITCH_SECONDS)
        self._garbage.start()
        self._capacity.ready = True
        _log.info("listening", extra={"fields": {"listen": self.address()}})

    def address(self) -> str:
        """Where clients connect, as in the configuration but with the true port."""
        if self._sockets:
            return ", ".join(_name(one) for one in self._sockets)
        listen = self._config.server.listen
        if listen.path is not None:
            return str(listen)
        return str(listen).rpartition(":")[0] + f":{self.port}"

    def reload(self, settings: config.Config) -> None:
        """Take over upstreams, prices, routing, limits, the keys of viewer tokens and a renewed certificate.

        Connections stay as they are.

        Raises `ConfigError`, and then nothing has changed.
        """
        before = self._upstreams
        signing_keys = token_keys.load(Path(self._config.storage.path))
        upstreams = assembly.build_upstreams(settings, before)
        if self._tls is not None and settings.server.tls_cert_file == self._config.server.tls_cert_file:
            assembly.renew(self._tls, self._config.server)  # else a restart is needed, and told
        self._upstreams = upstreams
        assembly.retire(before, self._upstreams)
        self._in_force.exchange(settings, self._upstreams.router, signing_keys)
        at_start = _read_at_start(self._config)
        fixed = [section for section, read in _read_at_start(settings).items() if read != at_start[section]]
        _log.info("configuration reloaded", extra={"fields": {"needs_restart": fixed}})

    def passes(self) -> Mapping[str, int]:
        """The streams over whose readers a pass is under way, each with the sends so far."""
        streams = [one.stream for one in (*self._hub.streams(), *self._feeds.values())]
        return {one.id: sends for one in streams if (sends := one.pass_under_way()) is not None}

    async def drain(self) -> None:
        """Take no more, let what runs finish for `drain_seconds`, end the rest."""
        self._capacity.ready = False
        self._close_servers()
        running = self._hub.statistics().running
        _log.info("draining", extra={"fields": {"streams": running}})
        self._close_feeds()
        await self._hub.drain(self._in_force.config.server.drain_seconds)

    async def stop(self) -> None:
        """Close what is left; after `drain` that is idle connections."""
        self._capacity.ready = False
        self._close_servers()
        await self._hub.drain(0)
        self._hub.close()
        self._close_feeds()
        await self._runner.cleanup()
        if self._capacity.watch is not None:
            self._capacity.watch.close()
        self._upstreams.close()
        self._upstreams.pace.stop()
        self._lag.stop()
        self._garbage.stop()
        await self._bank.close(LEDGER_SECONDS)
        if self._write_ledger is not None:
            await asyncio.wait([self._write_ledger], timeout=LEDGER_SECONDS)
        await self._tasks.close()
        self._books.close()
        self._bank.abandon_unwritten()
        await asyncio.get_running_loop().run_in_executor(None, self._tracing.shut)
        path = self._config.server.listen.path
        if path is not None and not self._sockets:
            _remove_stale_socket(path)
        _log.info("stopped")

    def _close_servers(self) -> None:
        """Accept no more. Sockets that were handed over stay open at the manager: clients wait there."""
        for server in self._servers:
            server.close()

    def _close_feeds(self) -> None:
        """Send the subscribers away to come again, and keep the rings for the process that they come to."""
        for feed in self._feeds.values():
            feed.close(jittered_retry_ms)
        rings = {name: one.state_of_ring() for name, one in self._feeds.items() if isinstance(one, SourceFeed)}
        feed_state.save(Path(self._config.storage.path), rings)

    def _check_who_may_reach(self) -> None:
        open_to_network = [
            str(listen)
            for listen in [_listen_of(one) for one in self._sockets] or [self._config.server.listen]
            if not listen.is_loopback
        ]
        if self._keys.is_open and open_to_network:
            advice = "make one with `rivergate keys create --name NAME`, or listen on 127.0.0.1"
            message = f"server.listen: {open_to_network[0]} is open to the network, and there is no API key: {advice}"
            raise ConfigError([message])

    def _room_for_connections(self, descriptors: int) -> int:
        """`max_connections`, or what the file descriptors allow if that is less."""
        wanted = self._config.server.max_connections
        room = max(descriptors - RESERVED_DESCRIPTORS, 1)
        if room < wanted:
            fields = {"max_connections": wanted, "open_files": descriptors, "now": room}
            _log.warning("max_connections is capped by the limit of open files", extra={"fields": fields})
        return min(wanted, room)

    async def _listen(self) -> list[asyncio.Server]:
        loop, count = asyncio.get_running_loop(), self._capacity.held
        server, listen = self._runner.server, self._config.server.listen
        assert server is not None
        fast_path = FastPath(self._reply_parts, self._config.server.max_body_bytes)

        def build() -> ClientProtocol:
            return ClientProtocol(
                server, count, fast_path, loop=loop, keepalive_timeout=KEEPALIVE_SECONDS, access_log=None
            )

        tls = self._tls = assembly.server_tls(self._config.server)
        if self._sockets:
            return [
                await (loop.create_unix_server if one.family == socket.AF_UNIX else loop.create_server)(
                    build, sock=one, backlog=BACKLOG, ssl=tls
                )
                for one in self._sockets
            ]
        if listen.path is not None:
            _remove_stale_socket(listen.path)
            return [await loop.create_unix_server(build, listen.path, backlog=BACKLOG, ssl=tls)]
        return [await loop.create_server(build, listen.host or None, listen.port, backlog=BACKLOG, ssl=tls)]

    def _settle(self, record: Record, lease: Lease | None, span: Span) -> None:
        self._hub.end(record.id)
        self._bank.settle(settlement.usage(record, lease, int(clock.wall_time())), lease)
        self._statistics.on_record(record)
        span.end(lambda: settlement.traced(record))
        self._metrics.on_completion(settlement.completion(record))
        logs.write_ending(_log, "completion ended", record.ending, settlement.log_fields(record, lease))
        self._garbage.after_answer()


def _listen_of(one: socket.socket) -> Listen:
    name = one.getsockname()
    if one.family == socket.AF_UNIX:
        return Listen("", 0, os.fsdecode(name).replace("\0", "@", 1))  # an abstract one, as systemd writes it
    return Listen(str(name[0]), int(name[1]))


def _name(one: socket.socket) -> str:
    return str(_listen_of(one))


# Of `[stream]`, what a feed has from the start on.
_OF_FEEDS = {"abort_grace_ms", "keepalive_seconds", "max_log_bytes", "subscriber_stall_seconds"}


def _read_at_start(settings: config.Config) -> dict[str, object]:
    """What a reload does not take over, by its section."""
    return {
        "server": settings.server.model_dump(exclude={"cors_origins", "drain_seconds"}),
        "stream": settings.stream.model_dump(include={"retain_seconds", "max_retained_bytes"}),
        "feeds": (settings.feeds, settings.stream.model_dump(include=_OF_FEEDS) if settings.feeds else None),
        "storage": settings.storage,
    }


def raise_fd_limit() -> int:
    """Raise the soft limit of open files to the hard one; the limit now in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _remove_stale_socket(path: str) -> None:
    """Remove a socket that a crash left behind; anything else at that path stays and makes the bind fail."""
    if os.path.exists(path) and Path(path).is_socket():
        os.unlink(path)
