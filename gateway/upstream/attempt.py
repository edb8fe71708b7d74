"""Shell: one try on one upstream, from the dial to the last byte.

In: an endpoint and the bytes of a request. Out: calls to an `AttemptObserver`. What may happen in which phase, and
which timer runs, stands in attempt_phases.py. The invariant: an attempt ends exactly once, by completing, failing or
being cancelled; cancelled means that its connection is closed in that very call and never pooled.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from gateway import clock
from gateway.dialects.learned_shape import Counts
from gateway.dialects.usage import Usage
from gateway.errors import GatewayError, RivergateError, UpstreamError, UpstreamRefused, UpstreamStalled
from gateway.tasks import Tasks
from gateway.upstream import attempt_phases as phases
from gateway.upstream.attempt_phases import AS_IT_WAS, TABLE, AttemptInput, AttemptPhase, AttemptTimer
from gateway.upstream.bodies import BodyReader, Steps, StreamBody
from gateway.upstream.body_end import finish_in_turns
from gateway.upstream.body_kind import UndecidedBody
from gateway.upstream.connection import BodyHandler, UpstreamConnection, ignore
from gateway.upstream.error_body import ErrorBody, ErrorHead
from gateway.upstream.gap_sampler import GapSampler, GapSamples
from gateway.upstream.idle_watch import IdleWatch
from gateway.upstream.inflate import inflating
from gateway.upstream.long_request import Request
from gateway.upstream.order import AttemptObserver, Marks, Order
from gateway.upstream.patience import Patience, PatienceOver, WholePatience, first_look
from gateway.upstream.redirect import is_redirect, redirected
from gateway.upstream.response_parser import EVENTS_HEAD
from gateway.upstream.whole_body import WholeBody


class Attempt:
    """One try on one upstream."""

    __slots__ = (
        "_body", "_connection", "_dial", "_is_compressed", "_loop", "_observer", "_order", "_phase", "_request",
        "_sampler", "_tasks", "_timer", "_untold", "_watch", "marks",
    )  # fmt: skip

    def __init__(self, order: Order, request: Request, observer: AttemptObserver, tasks: Tasks) -> None:
        self._order, self._request = order, request  # with the first content the request is let go of
        self._observer, self._tasks = observer, tasks
        self._loop = asyncio.get_running_loop()
        self._phase = AttemptPhase.DIALLING
        self._connection: UpstreamConnection | None = None
        self._dial: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._untold = False  # the answer is complete, and the observer waits for its share of a turn to hear it
        self._is_compressed = False  # the body reader gets its bytes from an inflater
        self._sampler: GapSampler | None = None  # from the first content of a stream on
        self.marks = Marks(clock.monotonic())

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
    def gaps(self) -> GapSamples | None:
        """Samples of the seconds between two reads of a stream's tokens; None before the first content."""
        return self._sampler.gaps if self._sampler is not None else None

    @property
    def counts(self) -> Counts:
        """The events with content and the bytes of text that were streamed so far."""
        return self._body.counts

    @property
    def is_worked_on(self) -> bool:
        """Whether the request was sent, and the upstream has not answered it with an error."""
        return self.marks.connected is not None and not isinstance(self._body, ErrorBody)

    def usage(self, prompt_tokens: int) -> Usage:
        """The tokens so far: as the upstream counts them, else our own estimate, which contains `prompt_tokens`."""
        return self._body.usage(prompt_tokens)

    def start(self) -> None:
        """Send the request, on an idle connection at once or on a new one as soon as it is there."""
        order = self._order
        if (connection := order.endpoint.pool.take_nowait()) is not None:
            self._send(connection)
        else:
            self._start_dial()
        # The reader of the answer is built while the request is on its way, since building it takes 5 us.
        self._watch = IdleWatch(order.endpoint.limits.idle)
        self._body: BodyReader = order.new_body(self)

    def cancel(self) -> None:
        """Close the connection now; the observer hears nothing more."""
        self._untold = False
        self._stop()

    def release(self) -> None:
        """Let go of the body, which knows this attempt, so that neither has to wait for the garbage collector."""
        self._body.release()

    def pause(self) -> None:
        """Stop reading from the upstream until `resume`: the log is full."""
        if self._connection is not None and self._enter(AttemptInput.PAUSE):
            self._connection.pause()
            self._watch.restart()  # the time of the pause does not count as the upstream's silence
            if self._sampler is not None:
                self._sampler.drop()

    def resume(self) -> None:
        """Undo `pause`."""
        if self._connection is not None and self._enter(AttemptInput.RESUME):
            self._connection.resume()

    # --- the connection's side (ResponseReceiver)

    def on_head(self, status: int, headers: Mapping[str, str]) -> BodyHandler:
        self.marks.head, self.marks.status = clock.monotonic(), status
        if self._connection is not None:
            self._connection.set_urgent(True)
        if headers is EVENTS_HEAD[1] and self._order.streamed:
            self._enter(phases.HEAD)
            return self._on_first_bytes
        if not 200 <= status < 300:
            if is_redirect(status, headers):
                self._follow(status, headers["location"])
                return ignore
            take = self._begin_error(status, headers)
        else:
            self._enter(phases.HEAD)
            if not self._order.streamed:
                take = self._body.feed
            elif headers.get("content-type", "")[:17].lower() == "text/event-stream":
                take = self._on_first_bytes
            else:
                take = UndecidedBody(partial(self._on_decided, status, headers)).feed
        encoding = headers.get("content-encoding")
        if encoding is None:
            return take
        self._is_compressed = True
        return inflating(encoding, take, self._on_broken_body)

    def on_end(self) -> None:
        self._connection = None  # it went back to the pool, or is closed
        if not self._enter(phases.BODY_OVER):
            self._finish_body()

    def on_lost(self, error: RivergateError, *, untouched: bool) -> None:
        self._connection = None
        if self._enter(phases.BODY_OVER):
            return
        # A pooled connection that died as the request was written to it: the upstream has hardly read the request, so
        # to send it again is safe (RFC 9112 section 9.3.1). That happens only once, since the next connection is new.
        young = clock.monotonic() - (self.marks.connected or 0.0) < phases.DEAD_ON_ARRIVAL_SECONDS
        if untouched and young and self._enter(AttemptInput.DEAD_ON_ARRIVAL):
            self._start_dial()
        elif self._phase is AttemptPhase.ERROR_BODY or (self._order.streamed and self.stream.finished):
            self._finish_body()
            self._fail(error)  # only if the body was over, and its end could not be told
        else:
            self._fail(error)

    # --- the body's side (BodyOwner)

    def on_content(self) -> None:
        self.marks.first_content = clock.monotonic()
        self._enter(phases.CONTENT)
        if self._connection is not None:
            self._connection.set_urgent(False)
        self._observer.on_content(self)
        self._request = b""
        # This comes after the first token, which does not wait for it. A log that the token filled has paused us.
        if self._order.streamed:
            self._enter(phases.RELAYED)

    def on_complete(self) -> None:
        connection, self._untold = self._connection, True
        try:
            is_over = connection is None or connection.is_whole
            self._untold = self._enter(phases.COMPLETE_AND_OVER if is_over else phases.COMPLETE)
            if not self._untold:
                return
            if connection is not None and not is_over:
                connection.ignore_rest()
            self._tasks.share.run(self._tell_complete)
            if self._untold and self._order.streamed:
                self.stream.deliver_last()
        except BaseException:
            if self._untold:
                self._tell_fault()
            raise

    def _tell_complete(self) -> None:
        if not self._untold:
            return  # it was cancelled while it waited
        self._untold = False
        try:
            self._observer.on_complete(self)
        except BaseException:
            self._tell_fault()
            raise

    def _tell_fault(self) -> None:
        """Fail an attempt that is over, since nobody else would tell."""
        self._untold = False
        self._observer.on_failed(self, GatewayError("the gateway failed to end the answer"))

    def on_broken(self, error: RivergateError) -> None:
        self._fail(error)

    # --- the request and the first bytes of its answer

    def _start_dial(self) -> None:
        self._dial = self._tasks.start(self._connect(), f"dial {self.upstream}")

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
        if self._phase is phases.ENDED:
            connection.abort()
        else:
            self._send(connection)

    def _send(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        self.marks.connected = clock.monotonic()
        connection.send(self._request, self)
        self._enter(phases.CONNECTED)

    def _follow(self, status: int, location: str) -> None:
        """Send the request once more, to where a redirect leads on the same origin."""
        order = self._order
        try:
            request = redirected(self._request, status, location, order.endpoint.origin, order.hops)
        except UpstreamError as error:
            self._fail(error)
            return
        if self._enter(AttemptInput.REDIRECTED):
            self._hang_up()
            self._order, self._request = order._replace(hops=order.hops + 1), request
            self._start_dial()

    def _begin_error(self, status: int, headers: Mapping[str, str]) -> BodyHandler:
        """Take the body for what it is: not what was asked for."""
        expected = "an event stream" if self._order.streamed else "a completion"
        self._body = ErrorBody(self, self._order.dialect, ErrorHead(status, headers, expected, clock.wall_time()))
        self._enter(AttemptInput.ERROR_HEAD)
        return self._body.feed

    def _on_broken_body(self, error: UpstreamError) -> None:
        """Fail for a body that cannot be inflated; the status of an error is told without its body."""
        if self._phase is AttemptPhase.ERROR_BODY:
            self._finish_body()
        else:
            self._fail(error)

    def _on_decided(self, status: int, headers: Mapping[str, str], are_events: bool) -> BodyHandler:
        """The handler of a body whose first bytes have told what it is."""
        take = self._on_first_bytes if are_events else self._begin_error(status, headers)
        if self._connection is not None and not self._is_compressed:
            self._connection.deliver_to(take)
        return take

    def _on_first_bytes(self, data: bytes) -> Steps:
        """Take the body until its first event, to note the marks; after that the body reader takes it directly."""
        now = clock.monotonic()
        if self.marks.first_byte is None:
            self.marks.first_byte = now
        body = self._body
        steps = body.feed(data)
        if isinstance(body, StreamBody) and body.events:
            self.marks.first_event = now
            if self._connection is not None and self._phase is not phases.LINGERING and not self._is_compressed:
                self._connection.deliver_to(body.feed, body.feed_chunk)
        return steps

    def _finish_body(self) -> None:
        finish_in_turns(self._body, self._order.endpoint.pool.later, self._on_fault)

    def _on_fault(self) -> None:
        self._fail(GatewayError("the gateway failed to relay the answer"))

    # --- phases and their timer

    def _enter(self, what: AttemptInput) -> bool:
        """Go to the phase, with the timer, that the table names; False if the input changes nothing in this phase."""
        following = TABLE[self._phase].get(what)
        if following is None:
            return False
        self._phase, timer = following
        if timer is AS_IT_WAS:
            return True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (arm := self._ARM.get(timer)) is not None:
            arm(self)
        if self._phase is phases.ENDED:
            self._body.stop()
        return True

    def _await_answer(self) -> None:
        limits = self._order.endpoint.limits
        if not self._order.streamed:
            patience = WholePatience(limits.response, self.marks.connected or 0.0)
            self._set_timer(first_look(limits.response, limits.response), self._await_content, patience)
        else:
            self._set_timer(limits.first_look, self._await_content, None)

    def _await_content(self, patience: Patience | WholePatience | None) -> None:
        """Look whether the upstream still lives, until its first content comes, or the whole answer is there."""
        limits, now = self._order.endpoint.limits, clock.monotonic()
        patience = patience or Patience(limits.head, limits.first_content, self.marks.connected or now)
        left = patience.look(self._signs_of_life, now, has_head=self._phase is AttemptPhase.HEAD)
        if isinstance(left, PatienceOver):
            self._fail(left)
        else:
            self._set_timer(left, self._await_content, patience)

    @property
    def _signs_of_life(self) -> int:
        """A count that moves with every read: it moves with those of the learned shape by their events."""
        return self._body.counts.events + (self._connection.reads if self._connection is not None else 0)

    def _await_events(self) -> None:
        """Look whether anything came, and sample the gap between two events; behind the finish only events count."""
        body = self.stream
        wait = self._watch.look(body.events if body.finished else self._signs_of_life, clock.monotonic())
        if wait > 0:
            self._set_timer(wait, self._await_events)
            self._sample_gap(body)
        elif body.finished:
            self._finish_body()  # the answer is whole; only the end of its body is missing
        else:
            idle_ms = self._order.endpoint.limits.idle * 1000
            self._fail(UpstreamStalled(f"no byte for idle_timeout_ms ({idle_ms:.0f})"))

    def _sample_gap(self, body: StreamBody) -> None:
        if self._connection is not None and body.events and not self._is_compressed:
            self._sampler = self._sampler or GapSampler(body)
            self._sampler.sample(self._connection)

    def _set_timer(self, seconds: float, call: Callable[..., None], *args: Any) -> None:
        self._timer = self._loop.call_later(seconds, call, *args)

    def _fail(self, error: RivergateError) -> None:
        try:
            if not self._enter(AttemptInput.FAILED):
                return
            self._hang_up()
            if not isinstance(error, UpstreamRefused):
                error.blame(self.upstream)
            self._order.endpoint.redact(error)
            error.answered_with(self.marks.status)
            self._observer.on_failed(self, error)
        except BaseException:  # the attempt is over, and nobody else would tell
            self._observer.on_failed(self, GatewayError("the gateway failed to tell why the upstream failed"))
            raise

    def _stop(self) -> None:
        if self._phase is not phases.ENDED:
            try:
                self._enter(AttemptInput.CANCELLED)
            finally:
                self._hang_up()

    def _hang_up(self) -> None:
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    _ARM: ClassVar[Mapping[AttemptTimer, Callable[["Attempt"], None]]] = {  # what arms each timer
        AttemptTimer.ANSWER: _await_answer,
        AttemptTimer.ERROR_BODY: lambda self: self._set_timer(phases.ERROR_BODY_SECONDS, self._finish_body),
        AttemptTimer.IDLE: _await_events,
        AttemptTimer.LINGER: lambda self: self._set_timer(phases.LINGER_SECONDS, self._stop),
    }
