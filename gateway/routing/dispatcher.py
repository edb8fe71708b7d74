"""Shell: the dispatcher runs the attempts of one request as the race commands, until one of them is the answer.

In: a call and its route. Out: calls to a `DispatchOwner`. The invariant: the owner hears of one end, by `on_complete`
or `on_failed`, and of nothing after `release`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from gateway import clock
from gateway.dialects.dialect import AnswerIdentity, Dialect, DialectRequest
from gateway.errors import DurationExceeded, RivergateError
from gateway.routing.catalog import Candidate
from gateway.routing.race import Cancel, CancelReason, Command, Commit, GiveUp, Race, Start
from gateway.routing.router import Route
from gateway.tasks import Tasks
from gateway.upstream.attempt import Attempt, Marks, Order
from gateway.upstream.long_request import Request

LOOP_GRAIN = 0.0005  # seconds: half of the smallest difference between two of uvloop's timers


@dataclass(frozen=True, slots=True)
class Call:
    """One request for an answer, after validation.

    `streamed`: the upstream is to stream its answer. `hold_finish`: the finish is held back, to carry the usage.
    """

    request_id: str
    model_id: str
    dialect: Dialect
    request: DialectRequest
    streamed: bool
    created: int  # Unix seconds
    prompt_tokens: int = 0  # as the gateway itself estimates them
    hold_finish: bool = False
    traceparent: str | None = None  # the header for the upstream; None: no trace


@dataclass(frozen=True, slots=True)
class Money:
    """What the key of a request can pay for.

    `covers_hedge` reserves money for one more attempt and returns whether there was enough. `is_spent` says of a
    candidate whether this many bytes of its whole answer have surely cost more than there is.
    """

    covers_hedge: Callable[[], bool]
    is_spent: Callable[[Candidate, int], bool] | None = None


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """How one attempt went.

    `start_ms` counts from the start of the request, the other milliseconds from the start of the attempt; None: the
    attempt did not come so far.
    """

    upstream: str
    outcome: str
    hedge: bool
    start_ms: float
    connect_ms: float | None
    head_ms: float | None
    first_content_ms: float | None

    def as_json(self) -> dict[str, Any]:
        return {
            "upstream": self.upstream,
            "outcome": self.outcome,
            "hedge": self.hedge,
            "start_ms": self.start_ms,
            "connect_ms": self.connect_ms,
            "head_ms": self.head_ms,
            "first_content_ms": self.first_content_ms,
        }


@dataclass(slots=True)
class AttemptEntry:
    """One attempt of a dispatcher. `outcome` is the word in its record; "" while the attempt runs."""

    number: int  # its number in the race
    attempt: Attempt
    candidate: Candidate
    hedge: bool
    health_number: int  # its number among the attempts that the candidate's health has counted
    outcome: str = ""


class DispatchOwner(Protocol):
    """The part that wants the answer."""

    def on_won(self, attempt: Attempt, candidate: Candidate) -> None:
        """The first content is there; this attempt is the answer."""

    def on_complete(self) -> None:
        """The answer is over and whole."""

    def on_failed(self, error: RivergateError) -> None:
        """There is no answer; or, after `on_won`, the answer broke off."""


class Dispatcher:
    """The attempts of one request."""

    def __init__(
        self, call: Call, route: Route, owner: DispatchOwner, tasks: Tasks, money: Money | None = None
    ) -> None:
        self._call = call
        self._candidates = route.candidates
        self._owner = owner
        self._tasks = tasks
        self._rules = route.rules
        names = tuple(candidate.endpoint.name for candidate in route.candidates)
        self._race = Race(len(names), route.rules, route.throttle, names)
        self._money = money
        self._entries: dict[Attempt, AttemptEntry] = {}
        self._winner: AttemptEntry | None = None
        self.began = clock.monotonic()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Send the first request."""
        self._obey(self._race.on_go(clock.monotonic()))

    def cancel(self) -> None:
        """Cancel every attempt, the winner too; the owner hears nothing of it."""
        self._obey(self._race.on_stop())
        self._clear_timer()
        winner = self._winner
        if winner is not None and not winner.outcome:
            winner.outcome = "won"
            winner.attempt.cancel()
            winner.candidate.health.on_complete(None, clock.monotonic())

    def release(self) -> None:
        """Forget the attempts, their requests, and the owner, once every attempt has ended.

        So a stream that is kept for replay keeps no request in memory; its owner has taken the `records` before.
        """
        for entry in self._entries.values():
            entry.attempt.release()
        self._entries.clear()
        self._winner = None
        del self._owner  # a later call to the owner would be a fault, and raises

    @property
    def attempts(self) -> int:
        """How many attempts have started so far."""
        return len(self._entries)

    def records(self) -> tuple[AttemptRecord, ...]:
        """The attempts so far, in the order of their start."""
        return tuple([self._record(entry) for entry in self._entries.values()])

    def lost(self) -> list[AttemptEntry]:
        """The attempts whose request was sent, but whose answer was not waited for because another attempt won."""
        lost = [entry for entry in self._entries.values() if entry.outcome == CancelReason.LOST]
        return [entry for entry in lost if entry.attempt.marks.connected]

    # --- the attempts' side (AttemptObserver)

    def on_content(self, attempt: Attempt) -> None:
        entry, marks = self._entries[attempt], attempt.marks
        now = clock.monotonic()
        self._obey(self._race.on_content(entry.number))
        if entry is self._winner:
            self._commit(entry)
        ttft = (marks.first_content or now) - marks.started if self._call.streamed else None
        entry.candidate.health.on_content(entry.health_number, ttft, now)

    def on_complete(self, attempt: Attempt) -> None:
        entry = self._entries[attempt]
        entry.outcome = "won"
        self._clear_timer()
        entry.candidate.health.on_complete(self._tps(attempt), clock.monotonic())
        self._owner.on_complete()

    def on_failed(self, attempt: Attempt, error: RivergateError) -> None:
        entry, now = self._entries[attempt], clock.monotonic()
        entry.outcome = error.code
        entry.candidate.health.on_failed(entry.health_number, error, now)
        if entry is self._winner:
            self._owner.on_failed(error)
        else:
            self._obey(self._race.on_failed(entry.number, error, now))

    # --- commands

    def _obey(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Start(number, candidate, hedge):
                    self._start(number, self._candidates[candidate], hedge)
                case Cancel(number, reason):
                    self._cancel(self._entry(number), reason)
                case Commit(number):
                    self._winner = self._entry(number)
                case GiveUp(error):
                    self._owner.on_failed(error)
        if self._winner is None:
            self._set_timer(self._race.wake_at, self._on_time)

    def _set_timer(self, at: float | None, call: Callable[[], None]) -> None:
        """Set the one timer, which serves all limits of time."""
        self._clear_timer()
        if at is not None:
            # The loop's grain is added, so that the timer never fires before there is something to do.
            seconds = max(at - clock.monotonic(), 0.0) + LOOP_GRAIN
            self._timer = asyncio.get_running_loop().call_later(seconds, call)

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_time(self) -> None:
        self._timer = None
        now, money = clock.monotonic(), self._money
        covered = money is None or not self._race.wants_hedge(now) or money.covers_hedge()
        self._obey(self._race.on_time(now, covered=covered))

    def _commit(self, entry: AttemptEntry) -> None:
        """Hand the winner to the owner, which may end it in this call. The other attempts are cancelled by now."""
        rules = self._rules
        limits = [self.began + rules.deadline] if rules.deadline is not None else []
        limits += [entry.attempt.marks.started + rules.timeout] if rules.timeout is not None else []
        self._set_timer(min(limits, default=None), self._on_overrun)
        self._owner.on_won(entry.attempt, entry.candidate)

    def _on_overrun(self) -> None:
        """End an answer that takes longer than the request's `timeout_ms` or `deadline_ms` allows."""
        entry = self._winner
        if entry is not None and not entry.outcome:
            entry.outcome = CancelReason.TIMED_OUT.value
            entry.attempt.cancel()
            entry.candidate.health.on_complete(None, clock.monotonic())
            self._owner.on_failed(DurationExceeded("the answer took longer than timeout_ms or deadline_ms allows"))

    def _start(self, number: int, candidate: Candidate, hedge: bool) -> None:
        call = self._call
        attempt = Attempt(
            Order(
                endpoint=candidate.endpoint,
                request=self._encode(candidate),
                dialect=call.dialect,
                identity=AnswerIdentity(call.request_id, call.created, candidate.model.id),
                streamed=call.streamed,
                hold_finish=call.hold_finish,
                is_spent=self._spent_by(candidate),
            ),
            self,
            self._tasks,
        )
        attempt.start()
        self._entries[attempt] = AttemptEntry(
            number, attempt, candidate, hedge, candidate.health.on_start(clock.monotonic())
        )

    def _spent_by(self, candidate: Candidate) -> Callable[[int], bool] | None:
        """The check whether the bytes of a whole answer from this candidate cost too much; None without a limit."""
        money = self._money
        return partial(money.is_spent, candidate) if money is not None and money.is_spent is not None else None

    def _encode(self, candidate: Candidate) -> Request:
        call, endpoint = self._call, candidate.endpoint
        content = call.request.upstream_body(
            candidate.model.upstream_id,
            streamed=call.streamed,
            include_usage=endpoint.include_usage,
            takes_models=endpoint.takes_models,
        )
        return endpoint.encode(
            call.dialect.upstream_path,
            content,
            streamed=call.streamed,
            request_id=call.request_id,
            traceparent=call.traceparent,
        )

    def _cancel(self, entry: AttemptEntry, reason: CancelReason) -> None:
        if entry.outcome:
            return
        entry.outcome = reason.value
        entry.attempt.cancel()
        now = clock.monotonic()
        entry.candidate.health.on_given_up(entry.health_number, self._waited(entry, reason, now), now)

    def _waited(self, entry: AttemptEntry, reason: CancelReason, now: float) -> float | None:
        """Seconds for which the attempt's content was waited for; None if its end says nothing about its speed.

        The end of a whole answer says nothing, since such an answer has no TTFT.
        """
        started = entry.attempt.marks.started
        if self._call.streamed and reason is CancelReason.TIMED_OUT:
            return now - started
        if self._call.streamed and reason is CancelReason.LOST and self._winner is not None and not entry.hedge:
            # The attempt counts as slow only for the wait before the hedge; the time after that is the hedge's.
            return self._winner.attempt.marks.started - started
        return None

    def _entry(self, number: int) -> AttemptEntry:
        return next(entry for entry in self._entries.values() if entry.number == number)

    def _tps(self, attempt: Attempt) -> float | None:
        """Tokens a second after the first content; None if there were too few to measure by."""
        if not self._call.streamed or attempt.marks.first_content is None:
            return None
        usage = attempt.usage(0)
        tokens = attempt.counts.events if usage.estimated else usage.completion_tokens
        seconds = clock.monotonic() - attempt.marks.first_content
        return (tokens - 1) / seconds if tokens > 1 and seconds > 0 else None

    def _record(self, entry: AttemptEntry) -> AttemptRecord:
        marks = entry.attempt.marks
        running = "won" if entry is self._winner else "running"
        return AttemptRecord(
            upstream=entry.attempt.upstream,
            outcome=entry.outcome or running,
            hedge=entry.hedge,
            start_ms=round((marks.started - self.began) * 1000, 3),
            connect_ms=_since_start(marks, marks.connected),
            head_ms=_since_start(marks, marks.head),
            first_content_ms=_since_start(marks, marks.first_content),
        )


def _since_start(marks: Marks, at: float | None) -> float | None:
    return None if at is None else round((at - marks.started) * 1000, 3)
