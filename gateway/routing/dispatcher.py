"""Shell: the dispatcher runs the attempts of one request as the race commands, until one of them is the answer.

In: a call and its route. Out: calls to a `DispatchOwner`. The invariant: the owner hears of one end, by `on_complete`
or `on_failed`, and of nothing after `release`.
"""

import asyncio
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from gateway import clock
from gateway.dialects.dialect import AnswerIdentity
from gateway.errors import (
    BALANCE_SPENT,
    CostExceeded,
    DurationExceeded,
    GatewayError,
    RateLimited,
    RivergateError,
    UpstreamRefused,
    UpstreamTimeout,
    closed_code,
)
from gateway.routing.attempt_record import AttemptEntry, AttemptRecord
from gateway.routing.call import Call, Money
from gateway.routing.catalog import Candidate
from gateway.routing.health import Breaker
from gateway.routing.race import Cancel, CancelReason, Command, Commit, GiveUp, Race, Start
from gateway.routing.router import Route
from gateway.tasks import Tasks
from gateway.upstream.attempt import Attempt
from gateway.upstream.long_request import Request
from gateway.upstream.order import Order
from gateway.upstream.patience import PatienceOver

_ONLY = 0  # the number of the first attempt in a race
LOOP_GRAIN = 0.0005  # seconds: half of the smallest difference between two of uvloop's timers
_GIVEN_UP = frozenset(reason.value for reason in CancelReason)


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
        self._route = route
        self._begun: Race | None = None  # the race, once there is something to decide
        self._money = money
        self._incidents = route.incidents
        self._is_open = True  # until `release`
        self._entries: dict[Attempt, AttemptEntry] = {}
        self._winner: AttemptEntry | None = None
        self._without_usage: set[int] = set()  # the attempts whose upstream refused to be asked for usage
        self.began = clock.monotonic()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Send the first request."""
        if self._route.has_choice:
            race = self._begun = self._new_race()
            self._obey(race.on_go(clock.monotonic()))
        else:
            self._route.throttle.on_request()
            self._start(_ONLY, self._candidates[0], False)

    def cancel(self) -> None:
        """Cancel every attempt, the winner too; the owner hears nothing of it. A fault in one spares no other."""
        self._clear_timer()
        try:
            if self._begun is not None or (self._winner is None and self._entries):
                self._obey(self._race.on_stop())
        finally:
            winner = self._winner
            for entry in self._entries.values():
                if entry is not winner and not entry.outcome:  # only if the race has failed
                    self._cancel(entry, CancelReason.STOPPED, gives_up=False)
            if winner is not None and not winner.outcome:
                try:
                    self._end(winner, "won")
                    winner.attempt.cancel()
                finally:
                    winner.candidate.health.on_complete(None, clock.monotonic())

    def release(self) -> None:
        """Forget the attempts, their requests, and the owner, once every attempt has ended.

        So a stream that is kept for replay keeps no request in memory; its owner has taken the `records` before.
        """
        for entry in self._entries.values():
            entry.attempt.release()
        self._entries.clear()
        self._winner = None
        self._is_open = False
        del self._owner  # a later call to the owner would be a fault, and raises

    @property
    def attempts(self) -> int:
        """How many attempts have started so far."""
        return len(self._entries)

    def records(self) -> tuple[AttemptRecord, ...]:
        """The attempts so far, in the order of their start."""
        return tuple([entry.record(self.began, won=entry is self._winner) for entry in self._entries.values()])

    def given_up(self) -> list[AttemptEntry]:
        """The attempts that were given up while their upstream worked on the request, but for the winner.

        Upstreams bill the prompt of such an attempt at least, whatever it was given up for.
        """
        entries = [entry for entry in self._entries.values() if entry.outcome in _GIVEN_UP or entry.was_left]
        return [entry for entry in entries if entry is not self._winner and entry.attempt.is_worked_on]

    # --- the attempts' side (AttemptObserver)

    def on_content(self, attempt: Attempt) -> None:
        entry, marks = self._entries[attempt], attempt.marks
        now = clock.monotonic()
        if self._begun is None:
            self._winner = entry
        else:
            self._decide(self._begun.on_content, entry.number)
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
        tps = None
        try:
            self._end(entry, "won")
            self._clear_timer()
            tps = entry.tps(clock.monotonic()) if self._call.streamed else None
        finally:
            try:
                entry.candidate.health.on_complete(tps, clock.monotonic())
            finally:
                self._owner.on_complete()

    def on_failed(self, attempt: Attempt, error: RivergateError) -> None:
        if not self._is_open:
            return  # the request is settled
        entry, now = self._entries[attempt], clock.monotonic()
        if entry.outcome:  # the attempt was over, and something failed to tell so
            self._owner.on_failed(error)
            return
        breaker = entry.candidate.health.breaker
        entry.was_left = isinstance(error, PatienceOver)
        try:
            self._end(entry, closed_code(error), error.reason.removeprefix(f"{attempt.upstream}: "))
            entry.candidate.health.on_failed(entry.health_number, error, now)
        finally:
            if entry is self._winner:
                self._end_broken(entry, error, breaker)
            else:
                self._decide(self._after_failure, entry, error, breaker, now)

    def _end_broken(self, entry: AttemptEntry, error: RivergateError, breaker: Breaker) -> None:
        """End the request, whose answer broke off."""
        try:
            self._tell_failed(entry, error, breaker, reached_client=True)
        finally:
            self._owner.on_failed(error)

    def _after_failure(
        self, entry: AttemptEntry, error: RivergateError, breaker: Breaker, now: float
    ) -> list[Command]:
        """The commands that follow the failure of an attempt that has not won."""
        takes_back = self._takes_usage_back(entry, error)
        commands = [] if takes_back else self._race.on_failed(entry.number, error, now)
        self._tell_failed(entry, error, breaker, reached_client=_gives_up(commands))
        if takes_back:
            self._start(entry.number, entry.candidate, entry.hedge)
        return commands

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

    @property
    def _race(self) -> Race:
        """The race. With one candidate and no limit of time, it is made when that candidate's attempt has failed.

        Until then it would have nothing to decide, and take 300 bytecodes.
        """
        if self._begun is None:
            self._begun = self._new_race()
            self._begun.on_go(self.began, is_counted=True)  # its one command was obeyed by `start`
        return self._begun

    def _new_race(self) -> Race:
        route = self._route
        return Race(len(route.names), route.rules, route.throttle, route.names)

    def _decide(self, decide: Callable[..., list[Command]], *arguments: Any) -> None:
        """Obey the commands that `decide` gives. A fault ends the request, since nobody else would tell its owner."""
        try:
            self._obey(decide(*arguments))
        except Exception:
            if self._is_open:
                self._owner.on_failed(GatewayError("the gateway failed to ask an upstream"))
            raise

    def _obey(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Start):  # a `match` on these types takes twice the bytecodes
                self._start(command.attempt, self._candidates[command.candidate], command.hedge)
            elif isinstance(command, Commit):
                self._winner = self._entry(command.attempt)
            elif isinstance(command, Cancel):
                self._cancel(self._entry(command.attempt), command.reason, gives_up=_gives_up(commands))
            else:
                self._owner.on_failed(command.error)
        if self._winner is None and self._rules.is_timed:
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
        self._decide(self._commands_at, clock.monotonic())

    def _commands_at(self, now: float) -> list[Command]:
        money = self._money
        covered = money is None or not self._race.wants_hedge(now) or money.covers_hedge()
        return self._race.on_time(now, covered=covered)

    def _commit(self, entry: AttemptEntry) -> None:
        """Hand the winner to the owner, which may end it in this call. The other attempts are cancelled by now."""
        rules = self._rules
        if rules.is_timed:
            limits = [self.began + rules.deadline] if rules.deadline is not None else []
            limits += [entry.attempt.marks.started + rules.timeout] if rules.timeout is not None else []
            self._set_timer(min(limits, default=None), self._on_overrun)
        self._owner.on_won(entry.attempt, entry.candidate)
        self._call.request.release()  # no further upstream is asked, and the prompt is most of what an answer holds

    def _on_overrun(self) -> None:
        """End an answer that takes longer than the request's `timeout_ms` or `deadline_ms` allows."""
        entry = self._winner
        if entry is not None and not entry.outcome:
            error = DurationExceeded("the answer took longer than timeout_ms or deadline_ms allows")
            try:
                self._end(entry, CancelReason.TIMED_OUT.value, error.reason)
                entry.attempt.cancel()
                entry.candidate.health.on_complete(None, clock.monotonic())
            finally:
                self._owner.on_failed(error)

    def _start(self, number: int, candidate: Candidate, hedge: bool) -> None:
        if candidate.quota is not None and (wait := candidate.quota.wait(clock.monotonic())) > 0:
            # Other requests have taken its places since the route was made: the next candidate is asked.
            error = RateLimited("over its max_concurrency or rpm", retry_after=math.ceil(wait))
            error.blame(candidate.endpoint.name)
            self._obey(self._race.on_failed(number, error, clock.monotonic()))
            return
        if self._entries and not hedge and not self._is_covered(candidate):
            self._obey(self._race.on_failed(number, CostExceeded(BALANCE_SPENT), clock.monotonic()))
            return
        call = self._call
        attempt = Attempt(
            Order(
                endpoint=candidate.endpoint,
                dialect=call.dialect,
                identity=AnswerIdentity(call.request_id, call.created, candidate.model.id, call.request.echoed_bytes),
                streamed=call.streamed,
                hold_finish=call.hold_finish,
                is_spent=None if call.streamed else self._spent_by(candidate),
            ),
            self._encode(number, candidate),
            self,
            self._tasks,
        )
        attempt.start()
        self._entries[attempt] = AttemptEntry(
            number, attempt, candidate, hedge, candidate.health.on_start(clock.monotonic())
        )

    def _is_covered(self, candidate: Candidate) -> bool:
        """Whether the next attempt can be paid for, beside those that were given up and are paid."""
        return self._money is None or not self.given_up() or self._money.covers_next(candidate)

    def _spent_by(self, candidate: Candidate) -> Callable[[int], bool] | None:
        """The check whether the bytes of a whole answer from this candidate cost too much; None without a limit."""
        money = self._money
        return partial(money.is_spent, candidate) if money is not None and money.is_spent is not None else None

    def _encode(self, number: int, candidate: Candidate) -> Request:
        call, endpoint = self._call, candidate.endpoint
        request, include_usage = call.request, endpoint.include_usage
        if endpoint.learned.refuses_usage or number in self._without_usage:
            request, include_usage = request.without_usage(), False
        content = request.upstream_body(
            candidate.model.upstream_id,
            streamed=call.streamed,
            include_usage=include_usage,
            takes_models=endpoint.takes_models,
            changes=endpoint.changes,
        )
        return endpoint.encode(
            call.dialect.upstream_path,
            content,
            streamed=call.streamed,
            request_id=call.request_id,
            traceparent=call.traceparent,
            more_fields=endpoint.forward(call.headers) if endpoint.forwarded else "",
            query=call.query,
        )

    def _cancel(self, entry: AttemptEntry, reason: CancelReason, *, gives_up: bool) -> None:
        if entry.outcome:
            return
        now = clock.monotonic()
        try:
            self._end(entry, reason.value, reason.sentence)
        finally:
            try:
                entry.attempt.cancel()
            finally:
                waited = entry.waited(reason, self._winner, now) if self._call.streamed else None
                entry.candidate.health.on_given_up(entry.health_number, waited, now)
        if reason is CancelReason.TIMED_OUT:
            error = UpstreamTimeout(reason.sentence)
            if (status := entry.attempt.marks.status) is not None:
                error.answered_with(status)
            self._incidents.on_failed(entry.candidate, error, self._call.request_id, reached_client=gives_up)

    def _entry(self, number: int) -> AttemptEntry:
        for entry in reversed(self._entries.values()):
            if entry.number == number:
                return entry
        raise LookupError(f"no attempt has the number {number}")


def _gives_up(commands: list[Command]) -> bool:
    """Whether the race ends without an answer, so that the client gets an error."""
    return any(isinstance(command, GiveUp) for command in commands)
