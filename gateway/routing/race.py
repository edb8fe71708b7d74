"""Pure: the race between the attempts of a request: decides which attempt starts when, and which one wins.

In: what happens to the attempts, and the time. Out: commands, which the dispatcher obeys. All attempts of a request
share one budget of time to the first token. The invariant: there is at most one `Commit`; no attempt starts after it,
nor after the end of the budget; every attempt that started and neither won nor failed is cancelled.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from gateway.errors import (
    DeadlineExceeded,
    RivergateError,
    TtftBudgetExceeded,
    UpstreamTimeout,
)
from gateway.routing.throttle import Throttle
from gateway.routing.verdict import Failure, verdict


class CancelReason(StrEnum):
    """Why an attempt was cancelled. `sentence` says it in the record of the attempt."""

    sentence: str

    def __new__(cls, word: str, sentence: str) -> "CancelReason":
        member = str.__new__(cls, word)
        member._value_ = word
        member.sentence = sentence
        return member

    LOST = "lost", "another attempt was faster"
    TIMED_OUT = "timed_out", "no content in the time that it was given"
    STOPPED = "stopped", "the answer is not wanted any more, or none can be given"


_LOST = CancelReason.LOST  # CPython 3.11 takes 0.4 us to find the member of an Enum by its name


class Start(NamedTuple):
    """The command to begin this attempt, on this candidate. `hedge`: another attempt is running."""

    attempt: int
    candidate: int
    hedge: bool = False


class Cancel(NamedTuple):
    """The command to cancel this attempt."""

    attempt: int
    reason: CancelReason


class Commit(NamedTuple):
    """The command to take this attempt's answer as the answer of the request."""

    attempt: int


class GiveUp(NamedTuple):
    """The command to end the request with this error, since there is no answer."""

    error: RivergateError


Command = Start | Cancel | Commit | GiveUp


@dataclass(frozen=True, slots=True)
class RaceRules:
    """The rules of one race; times are in seconds.

    `budget` and `deadline` count from the start of the race, `timeout` from the start of an attempt. `hedge_after`:
    how long an attempt on each candidate may run alone before a hedge; None: for ever. `hedge_order`: the candidates
    for the one hedge of a race, the fastest first.
    """

    attempts: int = 20
    budget: float | None = None
    deadline: float | None = None
    timeout: float | None = None
    hedge_after: tuple[float | None, ...] = ()
    hedge_order: tuple[int, ...] = ()
    is_timed: bool = field(init=False)  # something happens in the race when a time has come

    def __post_init__(self) -> None:
        times = (self.budget, self.deadline, self.timeout, *self.hedge_after)
        object.__setattr__(self, "is_timed", any(time is not None for time in times))


@dataclass(slots=True)
class _StartedAttempt:
    """An attempt that runs."""

    candidate: int
    times_out_at: float | None

    def is_late(self, now: float) -> bool:
        return self.times_out_at is not None and now >= self.times_out_at


@dataclass(slots=True)
class Race:
    """The race between the attempts of one request. The `names` of the candidates are for error messages."""

    candidates: int
    rules: RaceRules = field(default_factory=RaceRules)
    throttle: Throttle = field(default_factory=Throttle)
    names: tuple[str, ...] = ()
    _untried: list[int] = field(init=False)
    _running: dict[int, _StartedAttempt] = field(init=False, default_factory=dict)
    _errors: list[Failure] = field(init=False, default_factory=list)
    _failed: set[str | int] = field(init=False, default_factory=set)  # the candidates that failed, each once
    _started: int = field(init=False, default=0)
    _budget_ends: float | None = field(init=False, default=None)
    _deadline: float | None = field(init=False, default=None)
    _turn_ends: float | None = field(init=False, default=None)  # when the running attempts give way to the next
    _hedge_after: tuple[float | None, ...] = field(init=False)
    _hedge_at: float | None = field(init=False, default=None)
    _over: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._untried = list(range(self.candidates))
        self._hedge_after = self.rules.hedge_after

    @property
    def wake_at(self) -> float | None:
        """When `on_time` is to be called next; None: there is nothing to wait for."""
        if self._over or not self.rules.is_timed:
            return None
        limits = [self._budget_ends, self._deadline, self._turn_ends, self._hedge_at]
        limits += [running.times_out_at for running in self._running.values()]
        return min((limit for limit in limits if limit is not None), default=None)

    def on_go(self, now: float, *, is_counted: bool = False) -> list[Command]:
        """Begin the race. `is_counted`: the throttle has counted the request already."""
        rules = self.rules
        self._budget_ends = None if rules.budget is None else now + rules.budget
        self._deadline = None if rules.deadline is None else now + rules.deadline
        if not is_counted:
            self.throttle.on_request()
        return self._start_next(now)

    def on_content(self, attempt: int) -> list[Command]:
        """Take the first content of an attempt: it wins if none has won."""
        if self._running.pop(attempt, None) is None:
            return []
        self._over = True
        commit = Commit(attempt)
        return [commit, *self._cancel_running(_LOST)] if self._running else [commit]

    def on_failed(self, attempt: int, error: RivergateError, now: float) -> list[Command]:
        """Take the failure of an attempt before its content."""
        running = self._running.pop(attempt, None)
        if running is None:
            return []
        self._note(running.candidate, error)
        if not error.another_may_help:
            return self._give_up(error, CancelReason.STOPPED)
        return self._expire(now) or self._go_on(now)

    def wants_hedge(self, now: float) -> bool:
        """Whether `on_time` would start a hedge now; if so, its money has to be reserved first."""
        if self._hedge_at is None or now < self._hedge_at or self._over or not self._may_hedge:
            return False
        limits = (self._budget_ends, self._deadline, self._turn_ends)
        if any(limit is not None and now >= limit for limit in limits):
            return False
        return any(not running.is_late(now) for running in self._running.values())

    def on_time(self, now: float, *, covered: bool = True) -> list[Command]:
        """Do what is due at this time; nothing is due before `wake_at`. `covered`: a hedge can be paid for."""
        if self._over:
            return []
        commands = self._expire(now) or self._give_way(now)
        if not self._over and self._hedge_at is not None and now >= self._hedge_at:
            commands += self._hedge(now, covered)
        return commands

    def on_stop(self) -> list[Command]:
        """End the race: the answer is not wanted any more."""
        self._over = True
        return self._cancel_running(CancelReason.STOPPED)

    # --- inside

    def _expire(self, now: float) -> list[Command]:
        """Give up if the time of the whole request is over."""
        if self._budget_ends is not None and now >= self._budget_ends:
            spent = (self.rules.budget or 0.0) * 1000
            message = f"no first token within the TTFT budget of {spent:.0f} ms"
            return self._give_up(TtftBudgetExceeded(message, retry_after=1), CancelReason.TIMED_OUT)
        if self._deadline is not None and now >= self._deadline:
            spent = (self.rules.deadline or 0.0) * 1000
            return self._give_up(
                DeadlineExceeded(f"no answer within deadline_ms ({spent:.0f})"), CancelReason.TIMED_OUT
            )
        return []

    def _give_way(self, now: float) -> list[Command]:
        """Cancel the attempts whose time is up, and go on with the next candidate."""
        turn_over = self._turn_ends is not None and now >= self._turn_ends
        late = [attempt for attempt, running in self._running.items() if turn_over or running.is_late(now)]
        for attempt in late:
            error = UpstreamTimeout("no token in the time that it was given")
            candidate = self._running.pop(attempt).candidate
            if self.names:
                error.blame(self.names[candidate])
            self._note(candidate, error)
        commands: list[Command] = [Cancel(attempt, CancelReason.TIMED_OUT) for attempt in late]
        return commands + self._go_on(now) if late else commands

    def _go_on(self, now: float) -> list[Command]:
        """Go on after a failure: wait for an attempt that runs, or start the next, or give up."""
        if self._running:
            return []
        if self._may_start and self._untried:
            return self._start_next(now)
        return self._give_up(verdict(self._errors, len(self._failed)), CancelReason.STOPPED)

    def _note(self, candidate: int, error: RivergateError) -> None:
        name = self.names[candidate] if self.names else ""
        self._errors.append(Failure(name, error))
        self._failed.add(name or candidate)

    def _hedge(self, now: float, covered: bool) -> list[Command]:
        self._hedge_at, self._hedge_after = None, ()
        if not (covered and self._may_hedge and self.throttle.take()):
            return []
        order = [candidate for candidate in self.rules.hedge_order if candidate in self._untried] or self._untried
        alone = next(iter(self._running.values()))
        return self._start(order[0] if order else alone.candidate, now, hedge=True)

    @property
    def _may_start(self) -> bool:
        return self._started < self.rules.attempts

    @property
    def _may_hedge(self) -> bool:
        return self._may_start and self.throttle.ready

    def _start_next(self, now: float) -> list[Command]:
        candidate = self._untried[0]
        after = self._hedge_after[candidate] if candidate < len(self._hedge_after) else None
        self._hedge_at = None if after is None else now + after
        return self._start(candidate, now)

    def _start(self, candidate: int, now: float, *, hedge: bool = False) -> list[Command]:
        if candidate in self._untried:
            self._untried.remove(candidate)
        attempt, self._started = self._started, self._started + 1
        self._running[attempt] = _StartedAttempt(
            candidate, None if self.rules.timeout is None else now + self.rules.timeout
        )
        self._turn_ends = None if self._budget_ends is None else self._share(self._budget_ends, now)
        return [Start(attempt, candidate, hedge)]

    def _share(self, budget_ends: float, now: float) -> float | None:
        """The end of the turn that begins now; None: the turn has no end of its own.

        The turns that are left share the rest of the budget equally, and the last turn has all of it. A hedge is the
        next candidate's turn, begun early: the attempt that ran before goes on beside it.
        """
        left = min(len(self._untried), self.rules.attempts - self._started)
        if left <= 0:
            return None
        ends = now + (budget_ends - now) / (left + 1)
        # What is left may be too little for a float to tell a share of it from nothing: then it is not shared.
        return ends if ends > now else None

    def _give_up(self, error: RivergateError, reason: CancelReason) -> list[Command]:
        self._over = True
        return [*self._cancel_running(reason), GiveUp(error)]

    def _cancel_running(self, reason: CancelReason) -> list[Command]:
        running, self._running = sorted(self._running), {}
        return [Cancel(attempt, reason) for attempt in running]
