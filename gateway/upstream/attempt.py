"""Shell: one try on one upstream, from the dial to the last byte.

In: an endpoint and the bytes of a request. Out: calls to an `AttemptObserver`. The invariant: an attempt ends
exactly once, by completing, failing or being cancelled; cancelled means that its connection is closed in that
very call and never pooled.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from gateway import clock
from gateway.dialects.dialect import AnswerIdentity, Dialect
from gateway.dialects.learned_shape import Counts
from gateway.dialects.usage import Usage
from gateway.errors import GatewayError, RivergateError, UpstreamError, UpstreamRefused, UpstreamStalled
from gateway.observe.quantiles import Quantiles
from gateway.tasks import Tasks
from gateway.upstream.bodies import BodyReader, FrameReceiver, StreamBody, WholeBody
from gateway.upstream.connection import BodyHandler, UpstreamConnection
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.error_body import MAX_TOLD_VALUE, ErrorBody

LINGER_SECONDS = 1.0  # how long after the last event the body may still end properly, to keep the connection
DEAD_ON_ARRIVAL_SECONDS = 1.0  # later, the upstream may have begun to generate, and would bill it twice
IDLE_CHECKS = 8  # per idle_timeout_ms: a stall is told at most an eighth late
SAMPLE_SECONDS = 1.0  # between two samples of the gap between tokens
ERROR_BODY_SECONDS = 5.0  # for the body of an error whose status we know already


class Phase(Enum):
    DIALLING = "connect"
    SENT = "head"
    HEAD = "first content"
    FLOWING = "streaming"
    LINGERING = "linger"
    ENDED = "ended"


@dataclass(slots=True)
class Marks:
    """When the phases of an attempt ended, by `clock.monotonic`; None: not reached."""

    started: float
    connected: float | None = None
    head: float | None = None
    first_byte: float | None = None
    first_event: float | None = None
    first_content: float | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What an attempt is to fetch."""

    endpoint: Endpoint
    request: bytes
    dialect: Dialect
    identity: AnswerIdentity
    streamed: bool
    hold_finish: bool = False
    is_spent: Callable[[int], bool] | None = None  # of a whole answer: whether so many bytes cost too much


class AttemptObserver(Protocol):
    def on_content(self, attempt: "Attempt") -> None:
        """The first content is there: `flow_to` takes it, `cancel` declines."""

    def on_complete(self, attempt: "Attempt") -> None:
        """The completion is over and whole; only after `on_content`."""

    def on_failed(self, attempt: "Attempt", error: RivergateError) -> None:
        """The attempt is over and has closed its connection or given it back."""


class Attempt:
    """One try on one upstream."""

    __slots__ = (
        "_body",
        "_connection",
        "_dial",
        "_events_at_check",
        "_gap_from",
        "_loop",
        "_observer",
        "_order",
        "_paused",
        "_phase",
        "_quiet_since",
        "_tasks",
        "_timer",
        "gaps",
        "marks",
    )

    def __init__(self, order: Order, observer: AttemptObserver, tasks: Tasks) -> None:
        self._order = order
        self._observer = observer
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._phase = Phase.DIALLING
        self._paused = False
        self._connection: UpstreamConnection | None = None
        self._dial: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._events_at_check = -1  # no count: the next check finds that something came
        self._quiet_since = 0.0
        self.marks = Marks(clock.monotonic())
        self.gaps: Quantiles | None = None  # seconds between two reads of tokens; sampled, of streams only
        self._gap_from: float | None = None  # when the sample under way began

    @property
    def upstream(self) -> str:
        """The name of the upstream that is tried."""
        return self._order.endpoint.name

    @property
    def stream(self) -> StreamBody:
        """The body of a streamed answer."""
        assert isinstance(self._body, StreamBody)
        return self._body

    @property
    def whole(self) -> WholeBody:
        """The body of an answer that is not streamed."""
        assert isinstance(self._body, WholeBody)
        return self._body

    @property
    def counts(self) -> Counts:
        """What was streamed so far."""
        return self._body.counts

    def usage(self, prompt_tokens: int) -> Usage:
        """The tokens so far: the upstream's counts, else ours, `prompt_tokens` among them."""
        return self._body.usage(prompt_tokens)

    def start(self) -> None:
        """Send the request, on an idle connection at once or on a new one as soon as it is there."""
        connection = self._order.endpoint.pool.take_nowait()
        if connection is not None:
            self._send(connection)
        else:
            self._dial = self._tasks.start(self._connect(), f"dial {self.upstream}")
        # While the request is on its way.
        order = self._order
        self._body: BodyReader = (
            StreamBody(self, order.dialect.reader(order.identity), hold_finish=order.hold_finish)
            if order.streamed
            else WholeBody(self, order.dialect, order.identity, order.is_spent)
        )

    def cancel(self) -> None:
        """Close the connection now; the observer hears nothing more."""
        if self._end():
            self._hang_up()

    def release(self) -> None:
        """Let go of the body, which knows this attempt: neither then waits for the garbage collector."""
        self._body.release()

    def flow_to(self, receiver: FrameReceiver) -> None:
        """This attempt won: its frames, held ones first, go to the receiver."""
        self.stream.flow_to(receiver)

    def pause(self) -> None:
        """Stop reading from the upstream until `resume`: the log is full."""
        if self._phase is Phase.FLOWING and self._connection is not None:
            self._connection.pause()
            self._paused = True
            self._clear_timer()
            self._gap_from = None

    def resume(self) -> None:
        """Undo `pause`; the time paused does not count as the upstream's silence."""
        if self._phase is Phase.FLOWING and self._connection is not None:
            self._connection.resume()
            self._paused = False
            self._events_at_check = -1
            self._watch_idle()

    # --- the connection's side (Exchange)

    def on_head(self, status: int, headers: Mapping[str, str]) -> BodyHandler:
        self.marks.head = clock.monotonic()
        self._phase = Phase.HEAD
        if self._connection is not None:
            self._connection.is_urgent = True
        encoding = headers.get("content-encoding", "").strip().lower() or "identity"
        if not self._is_completion(status, headers):
            expected = "an event stream" if self._order.streamed else "a completion"
            self._body = ErrorBody(self, self._order.dialect, status, headers, expected)
            self._set_timer(ERROR_BODY_SECONDS, self._body.finish)
        elif encoding != "identity":
            what = encoding[:MAX_TOLD_VALUE]
            self._fail(UpstreamError(f"the answer is compressed ({what}) though identity was asked for"))
            return _ignore
        return self._first_bytes if self._order.streamed else self._body.feed

    def on_end(self) -> None:
        self._connection = None  # it went back to the pool, or is closed
        if self._phase is Phase.LINGERING:
            self._end()
        else:
            self._body.finish()

    def on_lost(self, error: RivergateError, *, untouched: bool) -> None:
        self._connection = None
        if self._phase is Phase.LINGERING:
            self._end()
        elif untouched and clock.monotonic() - (self.marks.connected or 0.0) < DEAD_ON_ARRIVAL_SECONDS:
            # The pooled connection died as we wrote to it: the request was hardly read, so a second sending is
            # safe (RFC 9112 section 9.3.1), and only once, since the next connection is new.
            self._phase = Phase.DIALLING
            self._clear_timer()
            self._dial = self._tasks.start(self._connect(), f"dial {self.upstream}")
        elif isinstance(self._body, ErrorBody) or (isinstance(self._body, StreamBody) and self._body.finished):
            self._body.finish()
        else:
            self._fail(error)

    # --- the body's side (BodyOwner)

    def on_content(self) -> None:
        self.marks.first_content = clock.monotonic()
        self._phase = Phase.FLOWING
        if self._connection is not None:
            self._connection.is_urgent = False
        self._observer.on_content(self)
        # Behind the first token, which does not wait for it. A log that is full with it has paused us.
        if self._order.streamed and self._phase is Phase.FLOWING and not self._paused:
            self._watch_idle()

    def on_complete(self) -> None:
        if self._phase is Phase.ENDED:
            return
        if self._connection is None:
            self._end()
        else:
            self._phase = Phase.LINGERING
            self._connection.deliver_to(_ignore)
            self._connection.resume()  # else the end of the body would not be seen
            self._set_timer(LINGER_SECONDS, self.cancel)
        self._observer.on_complete(self)

    def on_broken(self, error: RivergateError) -> None:
        self._fail(error)

    # --- inside

    def _is_completion(self, status: int, headers: Mapping[str, str]) -> bool:
        """Whether to read the body as asked for. Some providers stream under odd content types, never as JSON."""
        if not 200 <= status < 300:
            return False
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        return not self._order.streamed or kind not in ("application/json", "text/html")

    def _first_bytes(self, data: bytes) -> None:
        """Takes the body until its first event, for the marks; then the reader takes it directly."""
        now = clock.monotonic()
        if self.marks.first_byte is None:
            self.marks.first_byte = now
        body = self._body
        body.feed(data)
        if isinstance(body, StreamBody) and body.events:
            self.marks.first_event = now
            if self._connection is not None and self._phase is not Phase.LINGERING:
                self._connection.deliver_to(body.feed, body.feed_chunk)

    async def _connect(self) -> None:
        try:
            connection = await self._order.endpoint.pool.dial()
        except RivergateError as error:
            self._dial = None
            self._fail(error)
            return
        except Exception:
            self._dial = None
            self._fail(GatewayError("the gateway failed to connect"))
            raise
        self._dial = None
        if self._phase is Phase.ENDED:
            connection.abort()
        else:
            self._send(connection)

    def _send(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        self._phase = Phase.SENT
        self.marks.connected = clock.monotonic()
        connection.send(self._order.request, self)
        limits = self._order.endpoint.limits
        if not self._order.streamed:
            self._arm(limits.response, "no answer within response_timeout_ms")
        elif limits.head < limits.first_content:  # the head has a limit of its own
            self._set_timer(limits.head, self._on_head_limit)
        else:
            self._await_content(self.marks.connected)

    def _on_head_limit(self) -> None:
        """The head is overdue, or it came and the content is what is waited for: a timer less in every request."""
        if self._phase is Phase.HEAD:
            self._await_content(clock.monotonic())
        else:
            self._on_limit("no answer within head_timeout_ms", self._order.endpoint.limits.head)

    def _await_content(self, now: float) -> None:
        limit = self._order.endpoint.limits.first_content
        spent = now - (self.marks.connected or now)
        self._arm(limit, "no content within first_content_timeout_ms", spent)

    def _watch_idle(self) -> None:
        """Look now and then whether events came; a timer reset per token would cost more than the token."""
        idle, now = self._order.endpoint.limits.idle, clock.monotonic()
        if self.stream.events != self._events_at_check:
            self._events_at_check = self.stream.events
            self._quiet_since = now
        left = self._quiet_since + idle - now
        if left > 0:
            self._set_timer(max(min(left, idle / IDLE_CHECKS, SAMPLE_SECONDS), 0.001), self._watch_idle)
            self._sample_gap()
        elif self.stream.finished:
            self.stream.finish()  # all is said; only the end of the body is missing
        else:
            self._fail(UpstreamStalled(f"no event for idle_timeout_ms ({idle * 1000:.0f})"))

    def _sample_gap(self) -> None:
        """Measure the time between the next two reads. Each one would cost a look at the clock per token."""
        body, connection = self._body, self._connection
        if connection is not None and isinstance(body, StreamBody) and body.events and self._gap_from is None:
            connection.deliver_to(self._timed, self._timed_chunk)

    def _timed(self, data: bytes) -> None:
        self._time_gap()
        self._body.feed(data)

    def _timed_chunk(self, chunk: bytes) -> bool:
        taken = self.stream.feed_chunk(chunk)
        if taken:
            self._time_gap()
        return taken

    def _time_gap(self) -> None:
        now = clock.monotonic()
        if self._gap_from is None:
            self._gap_from = now
        else:
            self.gaps = self.gaps or Quantiles(0.0001, 600.0)
            self.gaps.add(now - self._gap_from, 0.0)
            self._gap_from = None
            if self._connection is not None:
                self._connection.deliver_to(self.stream.feed, self.stream.feed_chunk)

    def _arm(self, limit: float, message: str, spent: float = 0.0) -> None:
        self._set_timer(max(limit - spent, 0.0), self._on_limit, message, limit)

    def _on_limit(self, message: str, limit: float) -> None:
        self._fail(UpstreamError(f"{message} ({limit * 1000:.0f})"))

    def _set_timer(self, seconds: float, call: Callable[..., None], *args: Any) -> None:
        self._clear_timer()
        self._timer = self._loop.call_later(seconds, call, *args)

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fail(self, error: RivergateError) -> None:
        if self._end():
            self._hang_up()
            if not isinstance(error, UpstreamRefused):
                error.blame(self.upstream)
            self._order.endpoint.redact(error)
            self._observer.on_failed(self, error)

    def _end(self) -> bool:
        """Enter the last phase; False if it was entered before."""
        if self._phase is Phase.ENDED:
            return False
        self._phase = Phase.ENDED
        self._body.over = True  # also the rest of a read that is being taken right now
        self._clear_timer()
        return True

    def _hang_up(self) -> None:
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()


def _ignore(data: bytes) -> None:
    """Takes the body of an answer that was given up."""
