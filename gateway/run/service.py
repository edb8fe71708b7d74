"""Wiring: a configuration becomes a running gateway; start, reload, drain and stop in one readable order."""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from gateway import clock, config
from gateway.access import token_keys
from gateway.access.bank import Bank
from gateway.access.books_thread import BooksThread
from gateway.access.callers import Gate
from gateway.access.key_ring import KeyRing
from gateway.access.local_bank import LocalBank
from gateway.access.storage import open_books
from gateway.cluster.directory import Directory
from gateway.cluster.local_directory import LocalDirectory
from gateway.delivery.watch import Watch
from gateway.dialects.dialect import Dialect
from gateway.dialects.registry import DIALECTS
from gateway.errors import ConfigError, LedgerError
from gateway.feeds import rings as feed_state
from gateway.feeds.built_in import BuiltInFeed
from gateway.http.admission import Admission
from gateway.http.aiohttp_seam import rewrite_targets
from gateway.http.app import AppParts, build_app
from gateway.http.capacity import Capacity
from gateway.http.channels import ChannelSubscriptions
from gateway.http.client_connection import UNREAD_BYTES, ClientProtocol, FastWay
from gateway.http.fast_path import FastPath
from gateway.http.in_force import InForce
from gateway.http.opening import OpeningParts
from gateway.http.places import Places
from gateway.http.refusals import Refusals
from gateway.http.streamed_reply import ReplyParts
from gateway.http.subscriptions import Subscriptions
from gateway.http.target_paths import served_target
from gateway.http.turns import Turns
from gateway.http.viewing import jittered_retry_ms
from gateway.http.waiting import WaitingBytes
from gateway.merge.merges import Merges
from gateway.observe import trace
from gateway.observe.loop_lag import LoopLag
from gateway.observe.metrics import Metrics
from gateway.run import build as assembly
from gateway.run import descriptors
from gateway.run.bookkeeping import Bookkeeping
from gateway.run.discovery import Discovery
from gateway.run.gc_policy import GarbagePolicy
from gateway.run.history import History
from gateway.run.listeners import Listeners
from gateway.run.long_blocks import keep_long_blocks_apart
from gateway.run.statistics import FEED, GatewayStatistics, StatisticsSources
from gateway.stream.answer_ids import AnswerIds
from gateway.stream.hub import Hub
from gateway.tasks import Tasks

if TYPE_CHECKING:
    from gateway.run.application_tokens import ConfiguredTokens

KEEPALIVE_SECONDS = 75.0  # how long an idle connection is kept; above the 60 s of common proxies
LEDGER_SECONDS = 5.0  # how long a stop waits for records that are not written yet
SHUTDOWN_SECONDS = 0.5  # how long a stop waits for handlers that write the end of their answers
SWITCH_SECONDS = 0.0005  # how long the books' thread may keep the interpreter; with Python's own 5 ms a token is late

_log = logging.getLogger("rivergate")


@dataclass(frozen=True, slots=True)
class Seams:
    """The parts of a service that can be exchanged; the defaults make a gateway of one process."""

    build_bank: Callable[[BooksThread, KeyRing], Bank] = LocalBank
    build_directory: Callable[[Hub], Directory] = LocalDirectory
    dialects: Sequence[Dialect] = DIALECTS  # the first one is meant where a request does not say which
    build_fast_way: Callable[[ReplyParts, int], FastWay] = FastPath


ONE_PROCESS = Seams()


class Service:
    """One gateway in one event loop."""

    _tokens: "ConfiguredTokens | None" = None  # of the application, from the start on

    def __init__(
        self,
        settings: config.Config,
        sockets: Sequence[socket.socket] = (),
        seams: Seams = ONE_PROCESS,
        *,
        tunes_collector: bool = True,
    ) -> None:
        """`sockets`: listening sockets that were handed over; they win over `server.listen`.

        `tunes_collector`: the process does nothing else, so its one garbage collector may follow this service.
        """
        self._config = settings
        self._tunes_collector = tunes_collector
        self._listeners = Listeners(settings.server, sockets)
        self._tasks = Tasks()
        self._lag = LoopLag()
        self._garbage = GarbagePolicy(lambda: self._hub.statistics().running == 0)
        self._books = BooksThread(open_books(settings.storage))
        self._keys = KeyRing(self._books)
        self._bank = seams.build_bank(self._books, self._keys)
        self._upstreams = assembly.build_upstreams(settings)
        self._reloading = asyncio.Lock()  # one reload after the other: each begins with what the last one has built
        self._tracing = trace.build(os.environ)
        self._hub = Hub(settings.stream, lambda: self._in_force.config.stream)
        self._merges = Merges(self._hub, lambda: self._in_force.config.stream, jittered_retry_ms)
        self._in_force = InForce(settings, self._upstreams.router, token_keys.load(Path(settings.storage.path)))
        self._discovery = self._build_discovery()
        self._capacity, self._refusals = Capacity(), Refusals()
        self._feeds: dict[str, assembly.ConfiguredFeed | BuiltInFeed] = {}
        self._started_at = int(clock.wall_time())
        self._history = History(self._hub, self._refusals, lambda: self._in_force.router)
        self._statistics = self._build_statistics()
        self._metrics = Metrics(self._statistics.readings)
        self._fill_feeds(settings)
        self._reply_parts = self._build_reply_parts(seams.build_directory(self._hub))
        self._fast_way = seams.build_fast_way(self._reply_parts, settings.server.max_body_bytes)
        self._write_ledger: asyncio.Task[None] | None = None
        self._runner = self._build_runner(seams.dialects)

    def _build_discovery(self) -> Discovery:
        return Discovery(
            lambda: self._in_force.config, lambda: self._upstreams.endpoints, self._take_models, self._tasks
        )

    def _fill_feeds(self, settings: config.Config) -> None:
        """Build the feeds, which the statistics read; a feed goes on where the last process left it."""
        self._feeds[FEED] = self._statistics.feed()
        rings = feed_state.take(Path(settings.storage.path))
        self._feeds.update(assembly.build_feeds(settings, self._tasks, rings))

    def _build_statistics(self) -> GatewayStatistics:
        sources = StatisticsSources(
            in_force=self._in_force,
            hub=self._hub,
            keys=self._keys,
            bank=self._bank,
            capacity=self._capacity,
            refusals=self._refusals,
            feeds=self._feeds,
            lag=self._lag,
            pace=self._upstreams.pace,
            history=self._history,
            started_at=self._started_at,
        )
        return GatewayStatistics(sources)

    def _build_reply_parts(self, directory: Directory) -> ReplyParts:
        """The parts that every answer of a completion uses."""
        in_force = self._in_force
        bookkeeping = Bookkeeping(self._hub, self._bank, self._history, self._metrics, self._garbage)
        admission = Admission(self._capacity, self._build_gate(), self._bank, in_force)
        opening = OpeningParts(
            in_force=in_force,
            admission=admission,
            bank=self._bank,
            directory=directory,
            hub=self._hub,
            answer_ids=AnswerIds(),
            conversation_ids=AnswerIds(),
            tasks=self._tasks,
            tracing=self._tracing,
            book=bookkeeping.settle,
        )
        places = Places(lambda: in_force.config.stream)
        subscriptions = Subscriptions(self._feeds, places, admission, in_force, self._capacity)
        return ReplyParts(
            opening=opening,
            places=places,
            subscriptions=subscriptions,
            channels=ChannelSubscriptions(subscriptions, self._merges, directory),
            admission=admission,
            in_force=in_force,
            refusals=self._refusals,
            waiting=WaitingBytes(lambda: in_force.config.server.max_waiting_bytes),
            turns=Turns(),
        )

    def _build_gate(self) -> Gate:
        in_force = self._in_force
        return Gate(self._keys, clock.wall_time, lambda: (in_force.config.server.allowed_hosts, in_force.cors))

    def _build_runner(self, dialects: Sequence[Dialect]) -> web.AppRunner:
        parts = AppParts(
            reply=self._reply_parts,
            dialects=dialects,
            books=self._books,
            capacity=self._capacity,
            feeds=self._feeds,
            exposition=self._metrics.exposition,
            reports=self._statistics,
            started_at=self._started_at,
        )
        return web.AppRunner(build_app(parts), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._listeners.port

    @property
    def address(self) -> str:
        """Where clients connect."""
        return self._listeners.address

    async def start(self) -> None:
        """Start all parts and listen. Raises `ConfigError` if the gateway cannot or may not listen.

        In that case the rings of the feeds are saved again, for the next start.
        """
        try:
            await self._start()
        except ConfigError:
            await self._tasks.close()
            self._close_feeds()
            self._books.close()
            raise

    async def _start(self) -> None:
        try:
            self._keys.load()
        except LedgerError as error:
            raise ConfigError([error.fault]) from None
        if self._keys.is_open:
            self._listeners.check_loopback()
        self._exchange_tokens(assembly.build_tokens(self._config))
        limit = descriptors.raise_limit()
        self._capacity.watch = Watch() if sys.platform == "linux" else None
        await self._runner.setup()
        await self._discovery.start()
        try:
            await self._listen()
        except ConfigError:
            await self._runner.cleanup()
            raise
        self._capacity.max_connections = descriptors.room_for_connections(self._config.server.max_connections, limit)
        self._write_ledger = self._tasks.start(self._bank.run(), "ledger")
        self._tasks.start(self._keys.run(), "keys")
        self._lag.start()
        self._history.start()
        self._upstreams.pace.start()
        sys.setswitchinterval(SWITCH_SECONDS)
        keep_long_blocks_apart()
        if self._tunes_collector:
            self._garbage.start()
        self._capacity.ready = True
        _log.info("listening", extra={"fields": {"listen": self.address}})

    def passes(self) -> Mapping[str, int]:
        """The streams with a delivery pass under way, by id, each with the number of sends of the pass so far."""
        streams = [*self._hub.open_streams(), *(feed.stream for feed in self._feeds.values())]
        return {stream.id: sends for stream in streams if (sends := stream.pass_under_way()) is not None}

    async def reload(self, settings: config.Config) -> None:
        """Take over upstreams, prices, routing, limits, the keys of viewer tokens and a renewed certificate.

        Connections stay as they are. Raises `ConfigError`, and then nothing has changed.
        """
        async with self._reloading:
            before = self._upstreams
            signing_keys = token_keys.load(Path(self._config.storage.path))
            upstreams = await self._build_upstreams(settings)
            tokens = assembly.build_tokens(settings)
            self._listeners.renew_certificate(settings.server)
            self._upstreams = upstreams
            assembly.retire(before, self._upstreams)
            self._in_force.exchange(settings, self._upstreams.router, signing_keys)
            self._exchange_tokens(tokens)
            self._discovery.ask_again()
        _log.info(
            "configuration reloaded",
            extra={"fields": {"needs_restart": assembly.needs_restart(self._config, settings)}},
        )

    def _exchange_tokens(self, tokens: "ConfiguredTokens | None") -> None:
        """Take other tokens of the application; those of the same issuer keep the keys that are known."""
        before, self._tokens = self._tokens, tokens
        if tokens is not None:
            tokens.start(self._tasks, before)
        if before is not None:
            before.close()
        self._in_force.take_tokens(tokens)

    async def _take_models(self) -> None:
        """Serve the models that were discovered, beside those of the configuration in force."""
        async with self._reloading:
            in_force = self._in_force
            self._upstreams = await self._build_upstreams(in_force.config)
            in_force.exchange(in_force.config, self._upstreams.router, in_force.signing_keys)

    async def _build_upstreams(self, settings: config.Config) -> assembly.Upstreams:
        """The upstreams of a configuration and the models that they listed, built in turns of the event loop."""
        building = assembly.building_upstreams(self._discovery.extend(settings), self._upstreams)
        while True:
            try:
                next(building)
            except StopIteration as end:
                built: assembly.Upstreams = end.value
                return built
            await asyncio.sleep(0)

    async def drain(self) -> None:
        """Accept nothing new, let running streams finish for `drain_seconds`, and end the others."""
        self._capacity.ready = False
        self._listeners.close()
        running = self._hub.statistics().running
        _log.info("draining", extra={"fields": {"streams": running}})
        self._close_feeds()
        await self._hub.drain(self._in_force.config.server.drain_seconds)

    async def stop(self) -> None:
        """End everything that still runs, write what is unwritten, and close all parts."""
        self._capacity.ready = False
        self._listeners.close()
        await self._hub.drain(0)
        self._hub.close()
        self._close_feeds()
        self._merges.close()
        await self._runner.cleanup()
        if self._capacity.watch is not None:
            self._capacity.watch.close()
        self._upstreams.close()
        self._upstreams.pace.stop()
        self._lag.stop()
        self._history.stop()
        self._refusals.close()
        self._garbage.stop()
        await self._bank.close(LEDGER_SECONDS)
        if self._write_ledger is not None:
            await asyncio.wait([self._write_ledger], timeout=LEDGER_SECONDS)
        await self._tasks.close()
        self._books.close()
        self._bank.abandon_unwritten()
        await asyncio.get_running_loop().run_in_executor(None, self._tracing.shut)
        self._listeners.remove_socket_file()
        _log.info("stopped")

    def _close_feeds(self) -> None:
        """Tell the subscribers of feeds to come again, and save the rings for the process that they will come to."""
        for feed in self._feeds.values():
            feed.close(jittered_retry_ms)
        kept = {name: feed for name, feed in self._feeds.items() if not isinstance(feed, BuiltInFeed)}
        rings = {name: feed.state_of_ring() for name, feed in kept.items()}
        feed_state.save(Path(self._config.storage.path), rings)

    async def _listen(self) -> None:
        server, loop, count = self._runner.server, asyncio.get_running_loop(), self._capacity.held
        assert server is not None
        rewrite_targets(server, served_target)
        passes_options_on = self._listeners.passes_options_on

        def build() -> ClientProtocol:
            return ClientProtocol(
                server,
                count,
                self._fast_way,
                self._tasks.share,
                loop=loop,
                on_invalid=self._refusals.on_refused,
                inherits_options=passes_options_on,
                keepalive_timeout=KEEPALIVE_SECONDS,
                access_log=None,
                read_bufsize=UNREAD_BYTES,
                auto_decompress=False,  # `http/body.py` does it, once it is known who sends and what for
            )

        await self._listeners.open(build)
