"""Shell: the statistics feed of a running gateway, drawn in the terminal once a second."""

import asyncio
import contextlib
import os
import re
from dataclasses import dataclass

import aiohttp
import orjson
from rich.console import Console
from rich.live import Live

from gateway.commands.running import stop_signal
from gateway.commands.top_history import KeptHistory
from gateway.commands.top_picture import Rates, Terminal, picture
from gateway.commands.top_tables import Snapshot, plain
from gateway.errors import ConfigError
from gateway.wire import sse

FEED = "/v1/feeds/statistics/events"
HISTORY, FAILURES = "/v1/statistics/history", "/v1/statistics/failures"
CONNECT_SECONDS = 5.0
SILENT_SECONDS = 12.0  # a connection that is silent for longer is lost: a snapshot comes every second
RETRY_SECONDS = 2.0
SNAPSHOTS_OF_ONE = 2  # how many snapshots `--once` reads for its picture: a rate needs two
PIPED_LINES = 60  # the height of a picture that goes to a file or a pipe
_BEFORE_HOST = re.compile(r"^([a-z][a-z0-9+.-]*://|)[^/]*@", re.IGNORECASE)
ADVICE = (
    "put an API key into RIVERGATE_API_KEY, or mint a token on its machine with `rivergate token feed:statistics` "
    "and pass it with --token"
)


@dataclass(frozen=True, slots=True)
class Target:
    """A gateway, and the viewer token or the API key that it may want."""

    url: str
    token: str | None = None
    key: str | None = None

    @property
    def shown(self) -> str:
        """The address as it may be told: without a user, a password or a query."""
        return _BEFORE_HOST.sub(r"\1", self.url.partition("?")[0])

    def at(self, path: str) -> str:
        """The address of a path of the gateway."""
        return self.url.rstrip("/").removesuffix("/v1") + path

    @property
    def query(self) -> dict[str, str]:
        return {"token": self.token} if self.token is not None else {}

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key and self.token is None else {}


class _Lost(Exception):
    """The connection to the feed is lost for now; the text tells people why."""


async def run(target: Target, *, once: bool) -> None:
    """Draw until a signal comes, or draw one picture. Raises `ConfigError` if there is nothing to draw."""
    watching = asyncio.create_task(_Top(target, once=once).watch(), name="top")
    stopping = asyncio.create_task(stop_signal().wait(), name="top-signal")
    try:
        await asyncio.wait({watching, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        watching.cancel()
        outcome, _ = await asyncio.gather(watching, stopping, return_exceptions=True)
    if isinstance(outcome, Exception):
        raise outcome


class _Top:
    """The picture in the terminal: snapshots are read and drawn, over a new connection when one is lost."""

    def __init__(self, target: Target, *, once: bool) -> None:
        self._target = target
        self._once = once
        self._console = Console(highlight=False)
        screen = self._console.is_terminal and not once
        self._live = Live(console=self._console, screen=True, auto_refresh=False) if screen else None
        self._rates = Rates()
        self._history = KeptHistory()
        self._snapshots = 0
        self._latest: Snapshot | None = None

    async def watch(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, headers=self._target.headers) as session:
            with self._live or contextlib.nullcontext():
                while not await self._read(session):
                    if self._live is not None:
                        self._draw("reconnecting")
                    await asyncio.sleep(RETRY_SECONDS)

    async def _read(self, session: aiohttp.ClientSession) -> bool:
        """Draw the snapshots of one connection; returns whether the last wanted picture is drawn."""
        try:
            query = {"from": "now", **self._target.query}
            async with session.get(self._target.at(FEED), params=query) as answer:
                await self._check(answer)
                decoder = sse.BlockDecoder()
                async for data in answer.content.iter_any():
                    for block in decoder.feed(data):
                        if await self._on_block(session, block):
                            return True
                raise _Lost(f"{self._target.shown}: the gateway ended the connection")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, _Lost) as error:
            if self._latest is None:
                raise ConfigError([_reason(self._target.shown, error)]) from None
            return False

    async def _check(self, answer: aiohttp.ClientResponse) -> None:
        """Refuse an answer without a feed: raises `ConfigError` if another try will not help, else `_Lost`."""
        if answer.status == 200 and answer.content_type == "text/event-stream":
            return
        answered = f"{self._target.shown} answers {answer.status}: "
        if answer.status in (401, 403):
            has_shown = self._target.token or self._target.key
            reason = await _message_of(answer) if has_shown else "it has API keys, and wants one, or a viewer token"
            raise ConfigError([f"{answered}{reason}; {ADVICE}"])
        raise _Lost(answered + await _message_of(answer))

    async def _on_block(self, session: aiohttp.ClientSession, block: bytes) -> bool:
        event = sse.decode(block)
        if event.name is not None or event.data is None:
            return False
        try:
            now = self._latest = orjson.loads(event.data)
            self._rates.add(now)
            if self._history.lacks_points(now):
                self._history.take_points(await self._ask(session, HISTORY))
            if self._history.lacks_failures(now):
                self._history.take_failures(await self._ask(session, FAILURES))
        except (ValueError, LookupError, TypeError):
            raise ConfigError([f"{self._target.shown} does not speak as this version of rivergate does"]) from None
        self._snapshots += 1
        if self._once and self._snapshots < SNAPSHOTS_OF_ONE:
            return False
        self._draw("live")
        return self._once

    async def _ask(self, session: aiohttp.ClientSession, path: str) -> Snapshot:
        """What the gateway tells at this path."""
        async with session.get(self._target.at(path), params=self._target.query) as answer:
            answer.raise_for_status()
            told: Snapshot = orjson.loads(await answer.read())
            return told

    def _draw(self, state: str) -> None:
        assert self._latest is not None
        lines = self._console.height if self._live is not None else PIPED_LINES
        drawn = picture(self._latest, self._rates, self._history, Terminal(state, self._console.width, lines))
        if self._live is not None:
            self._live.update(drawn, refresh=True)
        else:
            self._console.print(drawn)


async def _message_of(answer: aiohttp.ClientResponse) -> str:
    try:
        return str(plain(orjson.loads(await answer.read())["error"]["message"]))
    except (ValueError, LookupError, TypeError):
        return f"{answer.reason}, with no word of rivergate's"


def _reason(url: str, error: Exception) -> str:
    if isinstance(error, _Lost):
        return str(error)
    if isinstance(error, aiohttp.InvalidURL):
        return f"--url {url}: not an http address"
    reason = "it does not answer" if isinstance(error, TimeoutError) else str(error)
    if isinstance(error, aiohttp.ClientResponseError):  # its text holds the whole URL, with the token
        reason = "what answers there is no gateway"
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno:
        reason = os.strerror(error.os_error.errno)
    return f"cannot reach {url}: {reason}; is the gateway running there?"
