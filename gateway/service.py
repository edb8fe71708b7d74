"""Wiring: a configuration becomes a running gateway; start, drain and stop in one readable order."""

import asyncio
import gc
import logging
import os
import random
import resource
import secrets
import signal
import ssl
import sys
import urllib.request
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from gateway import clock, config
from gateway.access import token_keys
from gateway.access.accounts import Accounts, Lease
from gateway.access.caller import Gate
from gateway.access.cors import Cors
from gateway.access.ledger import Ledger, Usage
from gateway.api.app import build_app
from gateway.api.context import Context
from gateway.api.protocol import ClientProtocol
from gateway.errors import ConfigError
from gateway.relay.answer import Record
from gateway.relay.feed import Feed
from gateway.relay.purse import ceil_microusd
from gateway.routing.catalog import Candidate, Catalog
from gateway.routing.health import Health, Rules
from gateway.routing.router import Router
from gateway.stream.hub import Hub
from gateway.stream.watch import Watch
from gateway.tasks import Tasks
from gateway.upstream.dial import Dialer, DialLimits, Origin, proxy_for, tls_context
from gateway.upstream.endpoint import Endpoint

KEEPALIVE_SECONDS = 75.0  # between two requests of one client; above the 60 s of common proxies
RESERVED_DESCRIPTORS = 512  # for upstreams, files and the listener; a POST stream needs two more of its own
LEDGER_SECONDS = 5.0  # at a stop, for the records that are not written yet
SHUTDOWN_SECONDS = 0.5  # for handlers to write their last words once everything they serve has ended
BACKLOG = 4096  # a burst of subscribers must not meet a full accept queue; the kernel caps it at somaxconn

FEED_DIAL_LIMITS = DialLimits(connect_ms=10_000, tls_ms=10_000)

_log = logging.getLogger("rivergate")


class Service:
    """One gateway in one event loop."""

    def __init__(self, settings: config.Config) -> None:
        self._config = settings
        self._tasks = Tasks()
        self._accounts = Accounts(Ledger.open(Path(settings.storage.path)))
        self._endpoints = self._build_endpoints()
        self._context = Context(
            config=settings,
            router=self._build_router(),
            hub=Hub(settings.stream.retain_seconds, settings.stream.max_retained_bytes),
            tasks=self._tasks,
            settle=self._settle,
            accounts=self._accounts,
            gate=Gate(self._accounts, clock.wall_time),
            cors=Cors(settings.server.cors_origins),
            started_at=int(clock.wall_time()),
            feeds=self._build_feeds(),
            signing_keys=token_keys.load(Path(settings.storage.path)),
        )
        self._write_ledger: asyncio.Task[None] | None = None
        app = build_app(self._context)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port that is listened on, also when the configuration left it to the kernel (0)."""
        if self._server is None or self._config.server.listen.path is not None:
            raise RuntimeError("not listening on a port")
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen. Raises `ConfigError` if that cannot or must not be."""
        listen = self._config.server.listen
        self._accounts.load()
        if self._accounts.is_open and not listen.is_loopback:
            advice = "make one with `rivergate keys create --name NAME`, or listen on 127.0.0.1"
            raise ConfigError([f"server.listen: {listen} is open to the network, and there is no API key: {advice}"])
        descriptors = raise_fd_limit()
        self._context.watch = Watch() if sys.platform == "linux" else None
        await self._runner.setup()
        try:
            self._server = await self._listen()
        except OSError as error:
            await self._runner.cleanup()
            reason = error.strerror or str(error)
            raise ConfigError([f"server.listen: cannot listen on {listen}: {reason}"]) from None
        self._context.max_connections = self._room_for_connections(descriptors)
        self._write_ledger = self._tasks.start(self._accounts.run(), "ledger")
        gc.collect()
        gc.freeze()  # what start-up made stays: no collection has to look at it again
        self._context.ready = True
        _log.info("listening", extra={"fields": {"listen": self.address()}})

    def address(self) -> str:
        """Where clients connect, as in the configuration but with the true port."""
        listen = self._config.server.listen
        if listen.path is not None:
            return str(listen)
        return str(listen).rpartition(":")[0] + f":{self.port}"

    async def drain(self) -> None:
        """Take no more, let what runs finish for `drain_seconds`, end the rest."""
        self._context.ready = False
        if self._server is not None:
            self._server.close()
        running = self._context.hub.statistics().running
        _log.info("draining", extra={"fields": {"streams": running}})
        await self._context.hub.drain(self._config.server.drain_seconds)

    async def stop(self) -> None:
        """Close what is left; after `drain` that is idle connections."""
        self._context.ready = False
        if self._server is not None:
            self._server.close()
        await self._context.hub.drain(0)
        self._context.hub.close()
        for feed in self._context.feeds.values():
            feed.close()
        await self._runner.cleanup()
        if self._context.watch is not None:
            self._context.watch.close()
        for endpoint in self._endpoints.values():
            endpoint.pool.close()
        await self._accounts.close(LEDGER_SECONDS)
        if self._write_ledger is not None:
            await asyncio.wait([self._write_ledger], timeout=LEDGER_SECONDS)
        await self._tasks.close()
        self._accounts.shut()
        path = self._config.server.listen.path
        if path is not None:
            _remove_stale_socket(path)
        _log.info("stopped")

    async def run_until_signal(self) -> None:
        """Serve until SIGTERM or SIGINT, drain, stop; a second signal ends the drain at once."""
        loop = asyncio.get_running_loop()
        asked = asyncio.Queue[signal.Signals]()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked.put_nowait, number)
        await asked.get()
        drain = loop.create_task(self.drain(), name="drain")
        again = loop.create_task(asked.get(), name="second signal")
        await asyncio.wait([drain, again], return_when=asyncio.FIRST_COMPLETED)
        for task in (drain, again):
            task.cancel()
        await asyncio.gather(drain, again, return_exceptions=True)
        await self.stop()

    def _room_for_connections(self, descriptors: int) -> int:
        """`max_connections`, or what the file descriptors allow if that is less."""
        wanted = self._config.server.max_connections
        room = max(descriptors - RESERVED_DESCRIPTORS, 1)
        if room < wanted:
            fields = {"max_connections": wanted, "open_files": descriptors, "now": room}
            _log.warning("max_connections is capped by the limit of open files", extra={"fields": fields})
        return min(wanted, room)

    async def _listen(self) -> asyncio.Server:
        loop, census = asyncio.get_running_loop(), self._context.census
        server, listen = self._runner.server, self._config.server.listen
        assert server is not None

        def build() -> ClientProtocol:
            return ClientProtocol(server, census, loop=loop, keepalive_timeout=KEEPALIVE_SECONDS, access_log=None)

        tls = self._tls()
        if listen.path is not None:
            _remove_stale_socket(listen.path)
            return await loop.create_unix_server(build, listen.path, backlog=BACKLOG, ssl=tls)
        return await loop.create_server(build, listen.host or None, listen.port, backlog=BACKLOG, ssl=tls)

    def _tls(self) -> ssl.SSLContext | None:
        server = self._config.server
        if server.tls_cert_file is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(server.tls_cert_file, server.tls_key_file)
        return context

    def _build_endpoints(self) -> dict[str, Endpoint]:
        idle = self._config.stream.idle_timeout_ms / 1000
        proxies = urllib.request.getproxies_environment()
        return {one.name: Endpoint.build(one, idle, proxies) for one in self._config.upstreams}

    def _build_feeds(self) -> dict[str, Feed]:
        proxies = urllib.request.getproxies_environment()
        return {one.name: self._build_feed(one, proxies) for one in self._config.feeds}

    def _build_feed(self, feed: config.Feed, proxies: Mapping[str, str]) -> Feed:
        origin, query = Origin.parse(feed.url), urlsplit(feed.url).query
        dialer = Dialer(
            origin, FEED_DIAL_LIMITS, tls_context(None) if origin.tls else None, proxy_for(origin, proxies)
        )
        target = (origin.prefix or "/") + (f"?{query}" if query else "")
        return Feed(
            feed,
            self._config.stream,
            dialer,
            target,
            epoch=secrets.token_hex(6),
            jitter=random.random,
            tasks=self._tasks,
        )

    def _build_router(self) -> Router:
        routing = self._config.routing
        rules = Rules(routing.breaker_failures, routing.breaker_seconds, routing.max_cooldown_seconds)
        catalog = Catalog(
            Candidate(self._endpoints[upstream.name], model, Health(rules))
            for upstream in self._config.upstreams
            for model in upstream.models
        )
        return Router(catalog, routing, self._config.ttft, dice=random.random, jitter=random.random)

    def _settle(self, record: Record, lease: Lease | None) -> None:
        self._context.hub.end(record.id)
        self._accounts.settle(_usage(record, lease), lease)
        _log.info("completion ended", extra={"fields": _line(record, lease)})


def _usage(record: Record, lease: Lease | None) -> Usage:
    """The record as it is billed, in whole micro-dollars."""
    usage = record.usage
    return Usage(
        id=record.id,
        request_id=record.request_id,
        key_id=lease.account.key.id if lease else None,
        model=record.model_id,
        upstream=record.upstream,
        ending=record.ending,
        prompt_tokens=usage.prompt_tokens if usage else None,
        completion_tokens=usage.completion_tokens if usage else None,
        estimated=bool(usage and usage.estimated),
        cost_microusd=ceil_microusd((record.cost_usd or 0) * Decimal(1_000_000)),
        hedge_cost_microusd=ceil_microusd(record.hedge_cost_usd * 1_000_000),
        ttft_ms=record.ttft_ms,
        duration_ms=record.duration_ms,
        ended_at=int(clock.wall_time()),
    )


def _line(record: Record, lease: Lease | None) -> dict[str, object]:
    """The record as an operator reads it: counts and reasons, never content."""
    usage = record.usage
    return {
        "request_id": record.request_id,
        "stream_id": record.id,
        "key": lease.account.key.id if lease else None,
        "model": record.model_id,
        "upstream": record.upstream,
        "ending": record.ending,
        "error": record.error,
        "ttft_ms": record.ttft_ms,
        "duration_ms": record.duration_ms,
        "prompt_tokens": usage.prompt_tokens if usage else None,
        "completion_tokens": usage.completion_tokens if usage else None,
        "usage_estimated": usage.estimated if usage else None,
        "cost_usd": None if record.cost_usd is None else str(record.cost_usd),
        "hedge_cost_usd": str(record.hedge_cost_usd),
        "strategy": record.strategy,
        "attempts": [f"{one.upstream}:{one.outcome}" for one in record.attempts],
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
