"""Shell: a feed whose events come from an SSE source, which is connected as long as somebody subscribes.

In: the source's events, over one connection after the other. Out: frames into a ring of the newest events. A new
connection asks the source for what was missed (`Last-Event-ID`). If the source gives its events no ids, a `gap` event
tells subscribers that events may be missing.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from gateway.config import FeedSettings, StreamSettings
from gateway.delivery.pieces import View
from gateway.delivery.subscriber import Subscriber
from gateway.endings import Ending
from gateway.errors import RivergateError
from gateway.feeds.feed import describe
from gateway.feeds.rings import FeedState
from gateway.stream.audience import Policy
from gateway.stream.room import Ring
from gateway.stream.stream import Stream
from gateway.stream.view import SOURCE_ID, Framing
from gateway.tasks import Tasks
from gateway.upstream.connection import BodyHandler, UpstreamConnection
from gateway.upstream.dial import Dialer
from gateway.upstream.told_type import told_type
from gateway.wire import http1, sse

HEAD_SECONDS = 30.0  # the limit from the request to the head of the answer; between events a source may stay silent
FIRST_WAIT = 1.0  # seconds before the first new connection; the source may ask for another pause (`retry:`)
LONGEST_WAIT = 30.0  # seconds between two connections, however often they fail
MAX_LINES = 20_000  # of one event, which takes 0.4 us a line
LAST_EVENT_ID = "Last-Event-ID"

_log = logging.getLogger("rivergate.feed")


class SourceState(Enum):
    """What the feed does about its source."""

    IDLE = "idle"  # there is no subscriber
    CONNECTING = "connecting"
    READING = "reading"
    WAITING = "waiting"  # a timer will open the next connection
    CLOSED = "closed"  # the process ends, and the ring that it leaves to the next one must not change any more


class SourceFeed:
    """One configured feed (`feeds.feed.Feed`)."""

    def __init__(
        self,
        config: FeedSettings,
        limits: StreamSettings,
        dialer: Dialer,
        target: str,
        *,
        epoch: str,
        jitter: Callable[[], float],
        tasks: Tasks,
        state: FeedState | None = None,
    ) -> None:
        """`jitter`: random, 0 to 1. `state`: the ring that an earlier process left, where this one goes on."""
        self.id = f"feed:{config.name}"
        self.state = SourceState.IDLE
        self._dialer = dialer
        self._target = target
        self._jitter = jitter
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        policy = Policy(grace_seconds=limits.abort_grace_ms / 1000)
        ring = Ring(config.retain_events, config.lag)
        state = state or FeedState(epoch, 0, b"", [])
        self.stream = Stream(self.id, state.epoch, limits, self, policy, ring, state.first_seq)
        self.stream.on_frames(state.frames)
        self._decoder = sse.BlockDecoder()
        self._connection: UpstreamConnection | None = None
        self._dial: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._last_id = _sendable(state.last_id)
        self._retry_seconds = FIRST_WAIT
        self._failures = 0
        self._connections = 1 if state.frames else 0
        self._last_error: str | None = None

    def join(self, *, chunked: bool, seq: int, source_ids: bool = False) -> Subscriber:
        framing = Framing.SOURCE_EVENTS if source_ids else Framing.EVENTS
        return self._started_for(self.stream.join(chunked=chunked, framing=framing, seq=seq))

    @property
    def begin_seq(self) -> int:
        return self.stream.oldest_seq

    def join_with(self, view: View, seq: int) -> Subscriber:
        return self._started_for(self.stream.join_with(view, seq))

    def describe(self) -> dict[str, Any]:
        return describe(self, self.state.value, connections=self._connections, last_error=self._last_error)

    # --- the stream's side (Producer)

    def pause(self) -> None:
        """Nothing: a ring forgets its oldest events and is never full."""

    def resume(self) -> None:
        """Nothing: a ring never pauses its producer."""

    def stop(self, ending: Ending) -> None:
        """Leave the source: the last subscriber has left. The ring stays for subscribers who come back."""
        self._hang_up()
        self._failures = 0
        if self.state is not SourceState.CLOSED:
            self.state = SourceState.IDLE

    def state_of_ring(self) -> FeedState:
        """The ring, as the next process needs it to go on."""
        log = self.stream.log
        return FeedState(log.epoch, log.first_seq, self._last_id, log.frames())

    def close(self, retry_ms: Callable[[], int]) -> None:
        self.state = SourceState.CLOSED
        self.stop(Ending.DRAINED)
        self.stream.dismiss(retry_ms)

    # --- the connection's side (ResponseReceiver)

    def on_head(self, status: int, headers: Mapping[str, str]) -> BodyHandler:
        kind = told_type(headers)
        if status != 200 or kind != "text/event-stream":
            self._fail(f"the source answered HTTP {status} with {kind}")
            return _ignore
        self._clear_timer()
        self.state = SourceState.READING
        self._decoder = sse.BlockDecoder()
        self._connections += 1
        if self._connections > 1 and not self._last_id:
            self.stream.on_frame(sse.control("gap", {"missed": None}))
        return self._on_body

    def on_end(self) -> None:
        self._connection = None
        self._fail("the source ended")

    def on_lost(self, error: RivergateError, *, untouched: bool) -> None:
        self._connection = None
        self._fail(error.reason)

    # --- inside

    def _started_for(self, subscriber: Subscriber) -> Subscriber:
        if self.state is SourceState.CLOSED:
            subscriber.end(Ending.DRAINED)
        elif self.state is SourceState.IDLE:
            self._connect()
        return subscriber

    def _on_body(self, data: bytes) -> None:
        try:
            blocks = self._decoder.feed(data)
        except sse.EventFault as error:
            self._relay(error.blocks)
            self._fail(f"the source sent {error}")
            return
        for number, block in enumerate(blocks):
            if len(block) > MAX_LINES and block.count(b"\n") > MAX_LINES:
                self._relay(blocks[:number])
                self._fail(f"the source sent an event of more than {MAX_LINES} lines")
                return
        self._relay(blocks)

    def _relay(self, blocks: list[bytes]) -> None:
        frames = [frame for block in blocks if (frame := self._frame(block)) is not None]
        if frames:
            self._failures = 0
            self.stream.on_frames(frames)

    def _frame(self, block: bytes) -> bytes | None:
        """The event as subscribers get it: its name and data unchanged, its id in a field of its own."""
        if sse.is_frame(block):
            return block
        event = sse.decode(block)
        if event.retry is not None:
            self._retry_seconds = min(max(event.retry / 1000, 0.01), LONGEST_WAIT)
        if event.id is not None:
            self._last_id = _sendable(event.id)
        if event.data is None:
            return None
        source_id = b"%b%b\n" % (SOURCE_ID, event.id) if event.id else b""
        return source_id + sse.frame(event.data, event.name)

    def _connect(self) -> None:
        self._timer = None
        self.state = SourceState.CONNECTING
        self._dial = self._tasks.start(self._open(), f"dial {self.id}")

    async def _open(self) -> None:
        try:
            connection = await self._dialer.dial(lambda: UpstreamConnection(UpstreamConnection.abort, _forget))
        except RivergateError as error:
            self._dial = None
            self._fail(error.reason)
            return
        self._dial = None
        self._connection = connection
        self._timer = self._loop.call_later(HEAD_SECONDS, self._fail, "the source did not answer")
        connection.send(self._request(), self)

    def _request(self) -> bytes:
        fields = [
            ("Host", self._dialer.origin.authority),
            ("Accept", "text/event-stream"),
            ("Accept-Encoding", "identity"),
            ("Cache-Control", "no-cache"),
            *self._dialer.hop_fields(),
        ]
        if self._last_id:
            fields.append((LAST_EVENT_ID, self._last_id.decode("latin-1")))
        return http1.encode_request("GET", self._target, fields)

    def _fail(self, reason: str) -> None:
        """Give the connection up and try again later: the pause doubles with each failure in a row."""
        if self.state not in (SourceState.CONNECTING, SourceState.READING):
            return
        self._hang_up()
        self.state = SourceState.WAITING
        self._last_error = reason
        wait = min(self._retry_seconds * 2**self._failures, LONGEST_WAIT) * (0.75 + self._jitter() / 2)
        self._failures = min(self._failures + 1, 10)
        self._timer = self._loop.call_later(wait, self._connect)
        again = round(wait, 3)
        _log.warning(
            "feed lost its source", extra={"fields": {"feed": self.id, "reason": reason, "again_in_s": again}}
        )

    def _hang_up(self) -> None:
        self._clear_timer()
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _sendable(source_id: bytes) -> bytes:
    """The id as a new connection may send it; empty if HTTP forbids its characters in a header."""
    return source_id if http1.is_field(LAST_EVENT_ID, source_id.decode("latin-1")) else b""


def _ignore(data: bytes) -> None:
    """Ignore the body of an answer that was given up."""


def _forget(connection: UpstreamConnection) -> None:
    """Nothing: a feed's connection belongs to no pool that would have to forget it."""
