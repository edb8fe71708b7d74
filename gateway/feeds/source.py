"""Shell: a feed whose events come from an SSE source, which is connected as long as somebody subscribes.

In: the source's events, over one connection after the other. Out: frames into a ring of the newest events. A new
connection asks the source for what was missed (`Last-Event-ID`). A `gap` event tells subscribers that events may be
missing, as when the source gives its events no ids, and a `source` event that the source cannot be read.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any

from gateway import clock
from gateway.config import FeedSettings, StreamSettings
from gateway.delivery.pieces import View
from gateway.delivery.subscriber import Subscriber
from gateway.endings import Ending
from gateway.errors import RivergateError, UpstreamError
from gateway.feeds.feed import SourceReport, describe
from gateway.feeds.rings import FeedState
from gateway.feeds.source_answers import Verdict, reason_of, verdict_of, wait_of
from gateway.feeds.source_events import SourceEvents, foreign_names_in
from gateway.feeds.source_request import SourceRequests
from gateway.stream.audience import Policy
from gateway.stream.room import Ring
from gateway.stream.stream import Stream
from gateway.stream.view import Framing
from gateway.tasks import Tasks
from gateway.upstream.bodies import Steps
from gateway.upstream.connection import BodyHandler, UpstreamConnection, ignore
from gateway.upstream.idle_watch import IdleWatch
from gateway.wire import sse
from gateway.wire.content_coding import BrokenContent, Inflater, inflater_for

HEAD_SECONDS = 30.0  # the limit from the request to the head of the answer; between events a source may stay silent
FIRST_WAIT = 1.0  # seconds before the first new connection; the source may ask for another pause (`retry:`)
LONGEST_WAIT = 30.0  # seconds between two connections, however often they fail
LONGEST_REFUSED_WAIT = 300.0  # the same after an answer that will probably be given again
MAX_DOUBLINGS = 16  # of the pause between two connections
TOLD_AFTER = 10.0  # seconds without the source after which subscribers are told, if it only fails
ENDED_SECONDS = 60.0  # how long a source that has said that it has ended is not asked again
SHORT_ID_BYTES = 1024  # no server closes the connection because of a shorter id
MAX_UNANSWERED = 3  # requests with a longer id, after which the id is dropped
PROBE_SECONDS = 30  # of silence, after which TCP finds out whether the source is still there

_log = logging.getLogger("rivergate.feed")


class SourceState(Enum):
    """What the feed does about its source."""

    IDLE = "idle"  # there is no subscriber
    CONNECTING = "connecting"
    READING = "reading"
    WAITING = "waiting"  # a timer will open the next connection
    REFUSED = "refused"  # a timer will, later, since the source will probably refuse it again
    ENDED = "ended"  # the source has said that no more events come
    CLOSED = "closed"  # the process ends, and the ring that it leaves to the next one must not change any more


class SourceFeed:
    """One configured feed (`feeds.feed.Feed`)."""

    def __init__(
        self,
        config: FeedSettings,
        limits: StreamSettings,
        requests: SourceRequests,
        *,
        epoch: str,
        jitter: Callable[[], float],
        tasks: Tasks,
        state: FeedState | None = None,
    ) -> None:
        """`jitter`: random, 0 to 1. `state`: the ring that an earlier process left, where this one goes on."""
        self.id = f"feed:{config.name}"
        self.state = SourceState.IDLE
        self._config = config
        self._limits = limits
        self._requests = requests
        self._address = requests.home
        self._hops = 0  # redirects that led to the address
        self._jitter = jitter
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        state = state or FeedState(epoch, 0, b"", [])
        self.stream = self._stream_of(state.epoch, state.first_seq, state.frames)
        self._events = SourceEvents(state.last_id, config.max_event_bytes, lambda: self.stream.log)
        self._connection: UpstreamConnection | None = None
        self._dial: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._idle = IdleWatch(config.idle_timeout_ms / 1000)
        self._reads = 0  # of all connections, as a sign of life
        self._is_paused = False  # the log is full of what subscribers have still to be sent
        self._unanswered = 0  # requests with a long id that were not answered, in a row
        self._asked_with_id = False  # the connection asks for what follows the last id
        self._is_gap_told = False  # the log says already that events may be missing before the next connection's
        self._told: str | None = None  # the failure that the log tells subscribers of, until the source is read again
        self._failures = 0  # in a row; each doubles the pause
        self._report = SourceReport(since=clock.wall_time(), connections=1 if state.frames else 0)

    def join(self, *, chunked: bool, seq: int, source_ids: bool = False, from_now: bool = False) -> Subscriber:
        framing = Framing.SOURCE_EVENTS if source_ids else Framing.EVENTS
        if from_now and self.state is SourceState.IDLE:
            seq = self._forget_position()
        return self._started_for(self.stream.join(chunked=chunked, framing=framing, seq=seq))

    @property
    def begin_seq(self) -> int:
        return self.stream.oldest_seq

    def join_with(self, view: View, seq: int, *, from_now: bool = False) -> Subscriber:
        if from_now and self.state is SourceState.IDLE:
            seq = self._forget_position()
        return self._started_for(self.stream.join_with(view, seq))

    def reopen(self, now: float | None = None) -> None:
        """Ask a source again that has ended, for a new subscriber, unless it has just said so. `now`: Unix time."""
        since = self._report.since + ENDED_SECONDS
        if self.state is not SourceState.ENDED or (clock.wall_time() if now is None else now) < since:
            return
        log = self.stream.log
        gap = self._events.control("gap", {"missed": None})  # in the place of the `end` event
        self.stream = self._stream_of(log.epoch, log.first_seq, [*log.frames(), gap])
        self._is_gap_told = True
        self.state = SourceState.IDLE

    def describe(self) -> dict[str, Any]:
        return describe(self, self.state.value, self._report)

    # --- the stream's side (Producer)

    def pause(self) -> None:
        self._is_paused = True
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        self._is_paused = False
        if self._connection is not None:
            self._connection.resume()

    def stop(self, ending: Ending) -> None:
        """Leave the source: the last subscriber has left. The ring stays for subscribers who come back."""
        self._hang_up()
        self._failures = 0
        if self.state not in (SourceState.CLOSED, SourceState.ENDED):
            self.state = SourceState.IDLE

    def state_of_ring(self) -> FeedState:
        """The ring, as the next process needs it to go on."""
        log = self.stream.log
        return FeedState(log.epoch, log.first_seq, self._events.last_id, log.frames())

    def close(self, retry_ms: Callable[[], int]) -> None:
        self.state = SourceState.CLOSED
        self.stop(Ending.DRAINED)
        self.stream.dismiss(retry_ms)

    # --- the connection's side (ResponseReceiver)

    def on_head(self, status: int, headers: Mapping[str, str]) -> BodyHandler:
        self._clear_timer()
        self._unanswered = 0
        match verdict_of(status, headers, with_id=self._asked_with_id):
            case Verdict.EVENTS:
                return self._begin(headers)
            case Verdict.END:
                self._end()
            case Verdict.ELSEWHERE:
                self._follow(status, headers["location"])
            case Verdict.UNKNOWN_ID:
                self._events.drop_id()
                self._fail(reason_of(status, headers))
            case Verdict.REFUSED:
                self._fail(reason_of(status, headers), is_refused=True, wait=self._wait_asked(status, headers))
            case Verdict.FAILED:
                self._fail(reason_of(status, headers), wait=self._wait_asked(status, headers))
        return ignore

    def on_end(self) -> None:
        self._connection = None
        self._fail("the source ended")

    def on_lost(self, error: RivergateError, *, untouched: bool) -> None:
        self._connection = None
        if self.state is SourceState.CONNECTING and len(self._events.last_id) > SHORT_ID_BYTES:
            self._unanswered += 1
            if self._unanswered == MAX_UNANSWERED:
                self._events.drop_id()  # some servers close the connection instead of refusing a long header
        self._fail(error.reason)

    # --- inside: the answer

    def _started_for(self, subscriber: Subscriber) -> Subscriber:
        if self.state is SourceState.CLOSED:
            subscriber.end(Ending.DRAINED)
        elif self.state is SourceState.IDLE:
            self._report.begin(clock.wall_time())
            self._connect()
        return subscriber

    def _begin(self, headers: Mapping[str, str]) -> BodyHandler:
        try:
            inflater = inflater_for(headers.get("content-encoding"))
        except LookupError:
            self._fail("the source compresses its answer in a way that was not asked for", is_refused=True)
            return ignore
        self.state = SourceState.READING
        self._report.read(clock.wall_time())
        if self._report.connections > 1 and not self._asked_with_id and not self._is_gap_told:
            self.stream.on_frame(self._events.control("gap", {"missed": None}))
        self._is_gap_told = False
        if self._told is not None:
            self._told = None
            self.stream.on_frame(self._events.control("source", {"state": self.state.value}))
        self._events.begin()
        self._watch_silence()
        return self._on_body if inflater is None else lambda data: self._inflate(inflater, data)

    def _on_body(self, data: bytes) -> Steps:
        self._reads += 1
        try:
            self._relay(self._events.feed(data))
        except sse.EventFault as fault:
            self._relay(fault.blocks)
            self._fail(f"the source sent {fault}")
        return None

    def _inflate(self, inflater: Inflater, data: bytes) -> Iterator[None]:
        connection = self._connection
        try:
            for piece in inflater.feed(data):
                self._on_body(piece)
                if self._connection is not connection:
                    return  # given up meanwhile
                yield
        except BrokenContent:
            self._fail("the source sent a compressed answer that cannot be inflated")

    def _relay(self, frames: list[bytes]) -> None:
        if frames:
            self._failures = 0
            self.stream.on_frames(frames)

    def _watch_silence(self) -> None:
        """Look from time to time whether the source still sends anything, if it has a limit."""
        if not self._config.idle_timeout_ms:
            return
        self._reads += self._is_paused  # a source that is not read cannot be heard
        wait = self._idle.look(self._reads, self._loop.time())
        if wait:
            self._timer = self._loop.call_later(wait, self._watch_silence)
        else:
            self._fail(f"the source sent nothing for idle_timeout_ms ({self._config.idle_timeout_ms})")

    # --- inside: the connections

    def _connect(self) -> None:
        self._timer = None
        self.state = SourceState.CONNECTING
        self._address, self._hops = self._requests.home, 0
        self._report.attempts += 1
        self._ask()

    def _ask(self) -> None:
        self._dial = self._tasks.start(self._open(), f"dial {self.id}")

    async def _open(self) -> None:
        try:
            dialer = self._requests.dial_to(self._address.origin)
            connection = await dialer.dial(lambda: UpstreamConnection(UpstreamConnection.abort, _forget))
        except RivergateError as error:
            self._dial = None
            self._fail(error.reason)
            return
        self._dial = None
        self._connection = connection
        connection.probe_when_silent(PROBE_SECONDS)
        self._timer = self._loop.call_later(HEAD_SECONDS, self._fail, "the source did not answer")
        self._asked_with_id = bool(self._events.last_id)
        self._idle.restart()
        connection.send(self._requests.encode(self._address, self._events.last_id), self)
        if self._is_paused:
            connection.pause()

    def _follow(self, status: int, location: str) -> None:
        try:
            self._address = self._requests.redirected(self._address, status, location, self._hops)
        except UpstreamError as error:
            self._fail(error.reason, is_refused=True)
            return
        self._hops += 1
        self._hang_up()
        self._ask()

    def _end(self) -> None:
        """Tell the subscribers that the source has ended; those that come later are told the same."""
        self._hang_up()
        self.state = SourceState.ENDED
        self._report.lose(clock.wall_time(), None)
        _log.info("feed has ended", extra={"fields": {"feed": self.id}})
        self.stream.close(Ending.COMPLETED, [])

    def _fail(self, reason: str, *, is_refused: bool = False, wait: float = 0.0) -> None:
        """Give the connection up and try again later: the pause doubles with each failure in a row.

        `wait`: the seconds that the source asks to wait. `is_refused`: it will probably answer the same again.
        """
        if self.state not in (SourceState.CONNECTING, SourceState.READING):
            return
        self._hang_up()
        self.state = SourceState.REFUSED if is_refused else SourceState.WAITING
        self._report.lose(clock.wall_time(), reason)
        longest, dice = LONGEST_REFUSED_WAIT if is_refused else LONGEST_WAIT, self._jitter()
        pause = min((self._events.retry_seconds or FIRST_WAIT) * 2**self._failures, longest) * (0.75 + dice / 2)
        pause = max(pause, min(wait, LONGEST_REFUSED_WAIT) * (1 + dice / 4))
        self._failures = min(self._failures + 1, MAX_DOUBLINGS)
        self._timer = self._loop.call_later(pause, self._connect)
        fields = {"feed": self.id, "reason": reason, "again_in_s": round(pause, 3)}
        _log.warning("feed lost its source", extra={"fields": fields})
        if is_refused or clock.wall_time() - self._report.since >= TOLD_AFTER:
            self._tell(reason)

    def _tell(self, reason: str) -> None:
        """Tell the subscribers why the source is not read, once for each reason."""
        if reason != self._told:
            self._told = reason
            fields: dict[str, object] = {"state": self.state.value, "error": reason}
            self.stream.on_frame(self._events.control("source", fields))

    def _wait_asked(self, status: int, headers: Mapping[str, str]) -> float:
        return wait_of(status, headers, clock.wall_time())

    def _forget_position(self) -> int:
        """Ask the source for what comes from now on; returns where a subscriber begins that wants nothing else."""
        self._events.drop_id()
        if self._report.connections and not self._is_gap_told:
            self.stream.on_frame(self._events.control("gap", {"missed": None}))
            self._is_gap_told = True
        return self.stream.log.next_seq

    def _stream_of(self, epoch: str, first_seq: int, frames: list[bytes]) -> Stream:
        policy = Policy(grace_seconds=self._config.linger_seconds)
        ring = Ring(self._config.retain_events, self._config.lag)
        stream = Stream(self.id, epoch, self._limits, self, policy, ring, first_seq)
        stream.on_frames(frames)
        for name in foreign_names_in(frames):
            stream.log.avoid(name)
        return stream

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


def _forget(connection: UpstreamConnection) -> None:
    """Nothing: a feed's connection belongs to no pool that would have to forget it."""
