"""Shell: runs the attempts of one request as the race commands, until one of them is the answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from gateway.errors import RivergateError
from gateway.routing.catalog import Candidate
from gateway.routing.race import Cancel, Command, Commit, GiveUp, Race, Start
from gateway.tasks import Tasks
from gateway.upstream.attempt import Attempt, Marks, Order
from gateway.wire.repair import Identity


@dataclass(frozen=True, slots=True)
class Call:
    """One completion request, after validation: `body` is what goes upstream but for the model's name there."""

    request_id: str
    model_id: str
    body: Mapping[str, Any]
    streamed: bool
    created: int
    hold_finish: bool = False
    warnings: tuple[Mapping[str, str], ...] = ()  # for routing_metadata: what was asked for and not acted on


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """How one attempt went; times in milliseconds from its start, None if it did not come that far."""

    upstream: str
    outcome: str
    connect_ms: float | None
    head_ms: float | None
    first_content_ms: float | None

    def as_json(self) -> dict[str, Any]:
        return {
            "upstream": self.upstream,
            "outcome": self.outcome,
            "connect_ms": self.connect_ms,
            "head_ms": self.head_ms,
            "first_content_ms": self.first_content_ms,
        }


class DispatchOwner(Protocol):
    """Whoever wants the answer."""

    def on_won(self, attempt: Attempt, candidate: Candidate) -> None:
        """The first content is there; this attempt is the answer."""

    def on_complete(self) -> None:
        """The answer is over and whole."""

    def on_failed(self, error: RivergateError) -> None:
        """There is no answer, or, after `on_won`, it broke off."""


class Dispatcher:
    """The attempts of one request."""

    def __init__(self, call: Call, candidates: Sequence[Candidate], owner: DispatchOwner, tasks: Tasks) -> None:
        self._call = call
        self._candidates = candidates
        self._owner = owner
        self._tasks = tasks
        self._race = Race(len(candidates))
        self._attempts: dict[Attempt, int] = {}  # those that ran or run, with the candidate's position
        self._outcomes: dict[Attempt, str] = {}
        self._winner: Attempt | None = None

    def start(self) -> None:
        self._obey(self._race.on_go())

    def stop(self) -> None:
        """Close every attempt, the winner too."""
        self._obey(self._race.on_stop())
        if self._winner is not None:
            self._winner.cancel()

    def release(self) -> None:
        """Forget the attempts, and with them the requests; all that could be told has been told."""
        self._attempts.clear()
        self._outcomes.clear()
        self._winner = None
        self._call = replace(self._call, body={})

    def records(self) -> list[AttemptRecord]:
        """The attempts so far, in the order of their start."""
        return [self._record(attempt) for attempt in self._attempts]

    # --- the attempts' side (AttemptObserver)

    def on_content(self, attempt: Attempt) -> None:
        self._obey(self._race.on_content(self._attempts[attempt]))

    def on_complete(self, attempt: Attempt) -> None:
        self._outcomes[attempt] = "completed"
        self._owner.on_complete()

    def on_failed(self, attempt: Attempt, error: RivergateError) -> None:
        self._outcomes[attempt] = error.code
        if attempt is self._winner:
            self._owner.on_failed(error)
        else:
            self._obey(self._race.on_failed(self._attempts[attempt], error))

    # --- commands

    def _obey(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Start(candidate):
                    self._start(candidate)
                case Cancel(candidate):
                    self._cancel(candidate)
                case Commit(candidate):
                    self._commit(candidate)
                case GiveUp(error):
                    self._owner.on_failed(error)

    def _start(self, position: int) -> None:
        candidate, call = self._candidates[position], self._call
        upstream_id = candidate.model.upstream_id
        attempt = Attempt(
            Order(
                endpoint=candidate.endpoint,
                request=candidate.endpoint.encode(call.body, upstream_id, call.request_id),
                identity=Identity(f"chatcmpl-{call.request_id}", call.created, call.model_id),
                streamed=call.streamed,
                hold_finish=call.hold_finish,
            ),
            self,
            self._tasks,
        )
        self._attempts[attempt] = position
        attempt.start()

    def _cancel(self, position: int) -> None:
        for attempt, at in self._attempts.items():
            if at == position and attempt not in self._outcomes:
                self._outcomes[attempt] = "cancelled"
                attempt.cancel()

    def _commit(self, position: int) -> None:
        self._winner = next(attempt for attempt, at in self._attempts.items() if at == position)
        self._owner.on_won(self._winner, self._candidates[position])

    def _record(self, attempt: Attempt) -> AttemptRecord:
        marks = attempt.marks
        outcome = self._outcomes.get(attempt) or ("won" if attempt is self._winner else "running")
        return AttemptRecord(
            upstream=attempt.upstream,
            outcome="won" if outcome == "completed" else outcome,
            connect_ms=_since_start(marks, marks.connected),
            head_ms=_since_start(marks, marks.head),
            first_content_ms=_since_start(marks, marks.first_content),
        )


def _since_start(marks: Marks, at: float | None) -> float | None:
    return None if at is None else round((at - marks.started) * 1000, 3)
