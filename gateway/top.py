"""Shell: `rivergate top`: the statistics feed of a running gateway, drawn in the terminal once a second."""

import asyncio
import contextlib
from dataclasses import dataclass

import aiohttp
import orjson
from rich.console import Console
from rich.live import Live

from gateway import demo
from gateway.errors import ConfigError
from gateway.top_picture import Rates, Snapshot, picture
from gateway.wire import sse

FEED = "/v1/feeds/statistics/events"
CONNECT_SECONDS = 5.0
SILENT_SECONDS = 12.0  # a snapshot comes every second
RETRY_SECONDS = 2.0
PIPED_LINES = 60  # of a picture that is not for a terminal
ADVICE = "mint a token on its machine with `rivergate token feed:statistics` and pass it with --token"


@dataclass(frozen=True, slots=True)
class Target:
    """Which gateway, and the viewer token that it may want."""

    url: str
    token: str | None = None

    @property
    def feed(self) -> str:
        return self.url.rstrip("/").removesuffix("/v1") + FEED

    @property
    def query(self) -> dict[str, str]:
        return {"from": "now", **({"token": self.token} if self.token is not None else {})}


class _Lost(Exception):
    """No snapshots come, for now. Its text is for people."""


async def run(target: Target, *, once: bool) -> None:
    """Draw until a signal comes, or one picture. Raises `ConfigError` if there is nothing to draw."""
    console = Console(highlight=False)
    watching = asyncio.create_task(_Top(target, console, once=once).watch(), name="top")
    stopping = asyncio.create_task(demo.wait_for_signal(), name="top-signal")
    try:
        await asyncio.wait({watching, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        watching.cancel()
        outcome, _ = await asyncio.gather(watching, stopping, return_exceptions=True)
    if isinstance(outcome, Exception):
        raise outcome


class _Top:
    """Reads snapshots and draws them; comes again when the connection is lost."""

    def __init__(self, target: Target, console: Console, *, once: bool) -> None:
        self._target = target
        self._console = console
        self._once = once
        self._rates = Rates()
        self._latest: Snapshot | None = None
        screen = console.is_terminal and not once
        self._live = Live(console=console, screen=True, auto_refresh=False) if screen else None

    async def watch(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while self._latest is None or not self._once:
                try:
                    await self._read(session)
                except _Lost as lost:
                    if self._latest is None:
                        raise ConfigError([str(lost)]) from None
                finally:
                    self._draw("reconnecting")
                await asyncio.sleep(RETRY_SECONDS)

    async def _read(self, session: aiohttp.ClientSession) -> None: ...
