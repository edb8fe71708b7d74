"""Shell: the dispatcher runs the attempts of one request as the race commands, until one of them is the answer.

In: a call and its route. Out: calls to a `DispatchOwner`. The invariant: the owner hears of one end, by `on_complete`
or `on_failed`, and of nothing after `release`.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from gateway import clock
from gateway.dialects.dialect import AnswerIdentity, Dialect, DialectRequest
from gateway.errors import (
    DurationExceeded,
    RateLimited,
    RivergateError,
    UpstreamRefused,
    UpstreamTimeout,
    closed_code,
)
from gateway.routing.attempt_record import AttemptRecord
from gateway.routing.catalog import Candidate
from gateway.routing.health import Breaker
from gateway.routing.race import Cancel, CancelReason, Command, Commit, GiveUp, Race, Start
from gateway.routing.router import Route
from gateway.tasks import Tasks
from gateway.upstream.attempt import Attempt
from gateway.upstream.order import Marks, Order

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
    wildcard: str | None = None  # the wildcard by which the model was found
    headers: Mapping[str, str] = field(default_factory=dict)  # the client's, of which an upstream may get some


@dataclass(frozen=True, slots=True)
class Money:
    """What the key of a request can pay for.

    `covers_hedge` reserves money for one more attempt and returns whether there was enough. `is_spent` says of a
    candidate whether this many bytes of its whole answer have surely cost more than there is.
    """

    covers_hedge: Callable[[], bool]
    is_spent: Callable[[Candidate, int], bool] | None = None


@dataclass(slots=True)
class AttemptEntry:
    """One attempt of a dispatcher. `outcome` and `reason` are those of its record; "" and None while it runs."""

    number: int  # its number in the race
    attempt: Attempt
    candidate: Candidate
    hedge: bool
    health_number: int  # its number among the attempts that the candidate's health has counted
    outcome: str = ""
    reason: str | None = None


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
        self._incidents = route.incidents
        self._entries: dict[Attempt, AttemptEntry] = {}
        self._winner: AttemptEntry | None = None
        self._without_usage: set[int] = set()  # the attempts whose upstream refused to be asked for usage
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
            self._end(winner, "won")
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
        if entry.number in self._without_usage:
            entry.candidate.endpoint.learned.refuses_usage = True
        ttft = (marks.first_content or now) - marks.started if self._call.streamed else None
        health = entry.candidate.health
        breaker = health.breaker
        health.on_content(entry.health_number, ttft, now)
        if health.breaker is not breaker:
            self._incidents.on_breaker(entry.candidate, breaker, None, self._call.request_id)

    def on_complete(self, attempt: Attempt) -> None:
        entry = self._entries[attempt]
        self._end(entry, "won")
        self._clear_timer()
        entry.candidate.health.on_complete(self._tps(attempt), clock.monotonic())
        self._owner.on_complete()

    def on_failed(self, attempt: Attempt, error: RivergateError) -> None:
        entry, now = self._entries[attempt], clock.monotonic()
        self._end(entry, closed_code(error), error.reason.removeprefix(f"{attempt.upstream}: "))
        breaker = entry.candidate.health.breaker
        entry.candidate.health.on_failed(entry.health_number, error, now)
        takes_back, is_winner = self._takes_usage_back(entry, error), entry is self._winner
        commands = [] if is_winner or takes_back else self._race.on_failed(entry.number, error, now)
        self._tell_failed(entry, error, breaker, reached_client=is_winner or _gives_up(commands))
        if takes_back:
            self._start(entry.number, entry.candidate, entry.hedge)
        elif is_winner:
            self._owner.on_failed(error)
        else:
            self._obey(commands)

    def _tell_failed(
        self, entry: AttemptEntry, error: RivergateError, breaker: Breaker, *, reached_client: bool
    ) -> None:
        """Tell of a failed attempt, and of the breaker that it has opened or closed. `breaker`: its state before."""
        candidate, request_id = entry.candidate, self._call.request_id
        self._incidents.on_failed(candidate, error, request_id, reached_client=reached_client)
        if candidate.health.breaker is not breaker:
            self._incidents.on_breaker(candidate, breaker, error, request_id)

    def _end(self, entry: AttemptEntry, outcome: str, reason: str | None = None) -> None:
        entry.outcome, entry.reason = outcome, reason
        self._incidents.on_end(entry.attempt.upstream, outcome)

    def _takes_usage_back(self, entry: AttemptEntry, error: RivergateError) -> bool:
        """Whether to send the request once more without the field that asks for usage, which the upstream refused.

        To the race it stays the same attempt. The upstream is remembered to refuse the field once it has answered.
        """
        if not (isinstance(error, UpstreamRefused) and error.refuses_usage and self._call.streamed):
            return False
        if entry.number in self._without_usage:
            return False
        self._without_usage.add(entry.number)
        return True

    # --- commands

    def _obey(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Start(number, candidate, hedge):
                    self._start(number, self._candidates[candidate], hedge)
                case Cancel(number, reason):
                    self._cancel(self._entry(number), reason, gives_up=_gives_up(commands))
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
            error = DurationExceeded("the answer took longer than timeout_ms or deadline_ms allows")
            self._end(entry, CancelReason.TIMED_OUT.value, error.reason)
            entry.attempt.cancel()
            entry.candidate.health.on_complete(None, clock.monotonic())
            self._owner.on_failed(error)

    def _start(self, number: int, candidate: Candidate, hedge: bool) -> None:
        if candidate.quota is not None and (wait := candidate.quota.wait(clock.monotonic())) > 0:
            # Other requests have taken its places since the route was made: the next candidate is asked.
            error = RateLimited("over its max_concurrency or rpm", retry_after=math.ceil(wait))
            error.blame(candidate.endpoint.name)
            self._obey(self._race.on_failed(number, error, clock.monotonic()))
            return
        call = self._call
        attempt = Attempt(
            Order(
                endpoint=candidate.endpoint,
                request=self._encode(number, candidate),
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

    def _encode(self, number: int, candidate: Candidate) -> bytes:
        call, endpoint = self._call, candidate.endpoint
        request, include_usage = call.request, endpoint.include_usage
        if endpoint.learned.refuses_usage or number in self._without_usage:
            request, include_usage = request.without_usage(), False
        content = request.upstream_body(
            candidate.model.upstream_id,
            streamed=call.streamed,
            include_usage=include_usage,
            changes=endpoint.changes,
        )
        return endpoint.encode(
            call.dialect.upstream_path,
            content,
            streamed=call.streamed,
            request_id=call.request_id,
            traceparent=call.traceparent,
            more_fields=endpoint.forward(call.headers) if endpoint.forwarded else "",
        )

    def _cancel(self, entry: AttemptEntry, reason: CancelReason, *, gives_up: bool) -> None:
        if entry.outcome:
            return
        self._end(entry, reason.value, reason.sentence)
        entry.attempt.cancel()
        if reason is CancelReason.TIMED_OUT:
            error = UpstreamTimeout(reason.sentence)
            if (status := entry.attempt.marks.status) is not None:
                error.answered_with(status)
            self._incidents.on_failed(entry.candidate, error, self._call.request_id, reached_client=gives_up)
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
        return next(entry for entry in reversed(self._entries.values()) if entry.number == number)

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
            status=marks.status,
            reason=entry.reason,
            hedge=entry.hedge,
            start_ms=round((marks.started - self.began) * 1000, 3),
            connect_ms=_since_start(marks, marks.connected),
            head_ms=_since_start(marks, marks.head),
            first_content_ms=_since_start(marks, marks.first_content),
        )


def _gives_up(commands: list[Command]) -> bool:
    """Whether the race ends without an answer, so that the client gets an error."""
    return any(isinstance(command, GiveUp) for command in commands)


def _since_start(marks: Marks, at: float | None) -> float | None:
    return None if at is None else round((at - marks.started) * 1000, 3)
