"""Shell: the publisher behind `rivergate publish`: from standard input to a feed of a running gateway.

In: bytes of the input, as they come. Out: bodies of events, one after the other; while one is on its way, the next
gathers. The invariant: events are sent in the order of the input, and what is told at the end is what was answered.
"""

import asyncio
import os
import re
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

from gateway.commands.publish_batches import Batch, BrokenInput, InputEvent, InputFormat, reader_of
from gateway.commands.running import stop_signal
from gateway.commands.top_feed import Target
from gateway.errors import ConfigError

READ_BYTES = 65536
ANSWER_SECONDS = 60.0
PROGRESS_SECONDS = 1.0
PATIENCE_SECONDS = 60.0  # how long a gateway may refuse one body because it is busy or restarts
LONGEST_PAUSE = 5.0  # seconds between two tries
_BUSY = frozenset({429, 503})
_PLACE = re.compile(r"^(?:line|event) \d+ of the body: (.*) \([^()]*(?:\(\d+\))?[^()]*\)$", re.DOTALL)


@dataclass(slots=True)
class PublishedSoFar:
    """What has been published so far."""

    taken: int = 0
    duplicates: int = 0
    size: int = 0
    last_position: str | None = None

    def add(self, answer: dict[str, Any], size: int) -> None:
        """Add what the gateway answered to a body of this size."""
        self.taken += answer["taken"]
        self.duplicates += len(answer["duplicates"])
        self.size += size
        self.last_position = answer["positions"][-1] if answer["positions"] else self.last_position

    def line(self) -> str:
        """The tally for people."""
        before = f", {self.duplicates:,} had come before" if self.duplicates else ""
        return f"{self.taken:,} events{before}, {self.size / 1_000_000:,.1f} MB"


class Unpublished(Exception):
    """The rest of the input is not published; the text tells why."""


class Publisher:
    """Publishes one input to one feed."""

    def __init__(self, target: Target, feed: str, key: str | None, form: InputFormat) -> None:
        self.tally = PublishedSoFar()
        self._target = target
        self._path = f"{target.url.rstrip('/').removesuffix('/v1')}/v1/feeds/{quote(feed, safe='')}/events"
        self._reader = reader_of(form)
        headers = {"Content-Type": self._reader.content_type}
        self._headers = headers | ({"Authorization": f"Bearer {key}"} if key else {})
        self._batch = Batch()
        self._input: asyncio.Queue[bytes] = asyncio.Queue(4)

    async def run(self, descriptor: int) -> None:
        """Publish until the input ends or a signal comes.

        Raises `ConfigError` if the gateway takes nothing at all, `Unpublished` if it stops taking the input.
        """
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(descriptor, loop), name="input", daemon=True).start()
        stopping = asyncio.create_task(self._end_at_signal(), name="signal")
        showing = asyncio.create_task(self._show(), name="progress")
        try:
            timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
            async with aiohttp.ClientSession(timeout=timeout, headers=self._headers) as session:
                await self._publish_all(session)
        finally:
            for task in (stopping, showing):
                task.cancel()
            await asyncio.gather(stopping, showing, return_exceptions=True)

    def _read(self, descriptor: int, loop: asyncio.AbstractEventLoop) -> None:
        """Read the input, in a thread of its own: a file and a terminal cannot be waited for in another way."""
        data = b"x"
        while data:
            data = os.read(descriptor, READ_BYTES)
            asyncio.run_coroutine_threadsafe(self._input.put(data), loop).result()

    async def _end_at_signal(self) -> None:
        await stop_signal().wait()
        while True:  # the thread goes on reading; what it brings now comes behind the end
            await self._input.put(b"")

    async def _publish_all(self, session: aiohttp.ClientSession) -> None:
        while data := await self._input.get():
            try:
                await self._add(session, self._reader.feed(data))
            except BrokenInput as error:
                await self._send(session)
                raise Unpublished(str(error)) from None
            if self._input.empty():
                await self._send(session)
        await self._add(session, self._reader.finish())
        await self._send(session)

    async def _add(self, session: aiohttp.ClientSession, events: Iterable[InputEvent]) -> None:
        for event in events:
            self._batch.add(event)
            if self._batch.is_full:
                await self._send(session)

    async def _send(self, session: aiohttp.ClientSession) -> None:
        """Send what has gathered, again while the gateway is busy."""
        batch, self._batch = self._batch, Batch()
        if not batch.events:
            return
        give_up = time.monotonic() + PATIENCE_SECONDS
        while True:
            status, answer, wait = await self._ask(session, batch)
            if status not in _BUSY or time.monotonic() > give_up:
                break
            await asyncio.sleep(wait)
        if "positions" in answer:
            self.tally.add(answer, len(batch.body))
        if status != 202:
            self._refuse(status, answer, batch)

    async def _ask(self, session: aiohttp.ClientSession, batch: Batch) -> tuple[int, dict[str, Any], float]:
        """The status and the JSON that the gateway answers, and how long it wants to be left alone."""
        try:
            async with session.post(self._path, data=batch.body) as got:
                wait = got.headers.get("Retry-After", "1")
                answer = _checked(orjson.loads(await got.read()))
                return got.status, answer, min(float(wait) if wait.isdigit() else 1.0, LONGEST_PAUSE)
        except aiohttp.InvalidURL:
            raise ConfigError([f"--url {self._target.shown}: not an http address"]) from None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            if not self.tally.size:
                reason = "what answers there is no gateway" if isinstance(error, ValueError) else _reason(error)
                raise ConfigError([f"cannot publish to {self._target.shown}: {reason}"]) from None
            first, last = batch.events[0].number, batch.events[-1].number
            unit = self._reader.unit
            raise Unpublished(
                f"the gateway is gone ({_reason(error)}): whether {unit}s {first} to {last} were taken is not known"
            ) from None

    def _refuse(self, status: int, answer: dict[str, Any], batch: Batch) -> None:
        """End the publication with the reason that the gateway gave."""
        error = answer.get("error")
        reason = str(error["message"]) if isinstance(error, dict) and "message" in error else f"HTTP {status}"
        done = answer.get("positions")
        if isinstance(done, list) and len(done) < len(batch.events) and (found := _PLACE.match(reason)):
            number = batch.events[len(done)].number
            raise Unpublished(f"{self._reader.unit} {number} of the input: {found[1]}")
        if not self.tally.size:
            raise ConfigError([f"{self._target.shown} answers {status}: {reason}"])
        raise Unpublished(f"{self._target.shown} answers {status}: {reason}")

    async def _show(self) -> None:
        """Show the progress on a terminal."""
        while sys.stderr.isatty():
            await asyncio.sleep(PROGRESS_SECONDS)
            print(f"\r\x1b[K{self.tally.line()}", end="", file=sys.stderr, flush=True)


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno:
        return os.strerror(error.os_error.errno)
    return "it does not answer" if isinstance(error, TimeoutError) else "the connection broke"


def _checked(answer: Any) -> dict[str, Any]:
    """An answer that a gateway could give. Raises `ValueError`."""
    if not isinstance(answer, dict):
        raise ValueError("it is no object")
    lists = (answer.get("positions", []), answer.get("duplicates", []))
    if type(answer.get("taken", 0)) is not int or not all(isinstance(value, list) for value in lists):
        raise ValueError("it is no receipt")
    if "positions" in answer and not {"taken", "duplicates"} <= answer.keys():
        raise ValueError("it is half a receipt")
    return answer
