"""Shell: one connection of a client to the provider.

In: bytes of HTTP/1.1 requests. Out: the steps of each request's plan, one request after the other. The client's close
is seen at once, since reading never pauses; it counts as an abort if a counted response was still being played.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import httptools

from gateway.simulate.player import Outcome, Player
from gateway.simulate.steps import Step
from gateway.simulate.tally import Tally

MAX_REQUEST_BYTES = 64 << 20  # head and body of one request: a long context with images fits, but no endless body
MAX_WAITING = 16  # requests of one client that wait for their turn; a client that pipelines more is broken
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """One whole request. Header names are in lower case; the last of several fields with one name wins."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool
    chunked: bool  # whether the client understands chunks (HTTP/1.1)


@dataclass(frozen=True, slots=True)
class ScriptedAnswer:
    """The steps of the answer to a request, and the request's number; 0 for a request that is not counted."""

    steps: Iterator[Step]
    number: int = 0


class ClientConnection(asyncio.Protocol):
    """Parses requests and plays the answers that `serve` plans."""

    __slots__ = (
        "_body",
        "_headers",
        "_number",
        "_on_lost",
        "_on_made",
        "_parser",
        "_paused",
        "_player",
        "_serve",
        "_size",
        "_tally",
        "_transport",
        "_url",
        "_waiting",
    )

    def __init__(
        self,
        serve: Callable[[Request], ScriptedAnswer],
        tally: Tally,
        on_made: Callable[["ClientConnection"], None],
        on_lost: Callable[["ClientConnection"], None],
    ) -> None:
        self._serve = serve
        self._tally = tally
        self._on_made = on_made
        self._on_lost = on_lost
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._player: Player | None = None
        self._paused = False
        self._number = 0
        self._waiting: deque[Request] = deque()
        self.on_message_begin()

    def drop(self) -> None:
        """Close at once, whatever is being played; it does not count as an abort."""
        if self._player is not None:
            self._player.cancel()
            self._player = None
            if self._number:
                self._tally.on_dropped()
        self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport has all methods, but another base
        self._tally.on_connected()
        self._on_made(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._transport.close()
        except httptools.HttpParserError:
            if self._player is None:
                self._transport.write(_BAD_REQUEST)
            self._leave()
            self._transport.close()
        self._play_next()  # not called by the parser, which would take an error in it for an error of the client

    def eof_received(self) -> None:
        if self._player is not None:
            self._leave()
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self._tally.on_disconnected()
        self._on_lost(self)

    def pause_writing(self) -> None:
        self._paused = True
        if self._player is not None:
            self._player.pause()

    def resume_writing(self) -> None:
        self._paused = False
        if self._player is not None:
            self._player.resume()

    # httptools callbacks

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._size = 0

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._grow(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")
        self._grow(len(name) + len(value))

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue" and self._player is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body += body
        self._grow(len(body))

    def on_message_complete(self) -> None:
        request = Request(
            method=self._parser.get_method().decode("latin-1"),
            target=self._url.decode("latin-1"),
            headers=self._headers,
            body=bytes(self._body),
            keep_alive=bool(self._parser.should_keep_alive()),
            chunked=self._parser.get_http_version() != "1.0",
        )
        if len(self._waiting) >= MAX_WAITING:
            raise ValueError("too many requests at once")
        self._waiting.append(request)

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > MAX_REQUEST_BYTES:
            raise ValueError("request too large")  # arrives as an HttpParserError

    # the play

    def _play_next(self) -> None:
        if self._player is not None or not self._waiting or self._transport.is_closing():
            return
        answer = self._serve(self._waiting.popleft())
        self._number = answer.number
        loop = asyncio.get_running_loop()
        self._player = Player(loop, self._transport, answer.steps, self._on_end)
        self._player.start(self._paused)

    def _on_end(self, outcome: Outcome) -> None:
        self._player = None
        if self._number:
            if outcome is Outcome.BROKEN:
                self._tally.on_broken()
            else:
                self._tally.on_completed()
        if outcome is not Outcome.KEPT:
            self._transport.close()
        elif self._waiting:
            asyncio.get_running_loop().call_soon(self._play_next)

    def _leave(self) -> None:
        """Stop what is being played, since the client is gone."""
        if self._player is None:
            return
        if self._number:
            self._tally.on_aborted(self._number, time.monotonic(), self._player.tokens)
        self._player.cancel()
        self._player = None
