"""Shell: a completion whose answer is a stream: frames into a log that any number of subscribers reads.

The invariant: the log is closed exactly once, and the completion is settled in the same call.
"""

import asyncio
import base64
import os
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

from gateway.access.bank import Lease
from gateway.completion.answer import Settle
from gateway.completion.completion import Completion, State
from gateway.completion.meter import Meter, OutputLimits, affordable_tokens
from gateway.config import StreamSettings
from gateway.dialects.dialect import AnswerReport
from gateway.endings import Ending
from gateway.errors import DurationExceeded, GatewayError, RivergateError
from gateway.routing.call import Call
from gateway.routing.catalog import Candidate
from gateway.routing.router import Route
from gateway.stream.audience import Policy
from gateway.stream.description import AnswerProgress, StreamFacts, describe
from gateway.stream.stream import Stream
from gateway.tasks import Tasks
from gateway.upstream.attempt import Attempt

# How long an abandoned answer whose upstream has finished waits for its usage. It comes right behind the finish, and
# only it tells the reasoning of which no text came: nobody saves that by leaving a moment earlier.
USAGE_SECONDS = 1.0
ID_BYTES = 18  # 144 bits: an id that cannot be guessed
EPOCH_BYTES = 6
UsageEvent = Literal["event", "finish", "none"]
DecisionCall = Callable[[RivergateError | None], None]  # gets the failure, or None when there is content


class Plan(NamedTuple):
    """How a streamed answer is kept and limited.

    `owner`: the id of the caller who owns the stream. `policy`: what becomes of the stream without subscribers.
    `key`: its `X-Stream-Key`. `fingerprint`: tells the request's body, so that another body under that key is a
    conflict. `lease`: the money reserved for the answer; None: nobody pays. `on_over`: as `Completion` says.
    """

    owner: str
    policy: Policy
    usage_event: UsageEvent = "none"
    key: str | None = None
    fingerprint: bytes = b""
    output: OutputLimits = OutputLimits()
    lease: Lease | None = None
    on_over: Callable[[str], None] | None = None


class StreamedCompletion(Completion):
    """A completion that is read as it comes (`stream.production.Production`, `stream.stream.Producer`)."""

    stream: Stream

    def __init__(
        self, call: Call, route: Route, plan: Plan, *, limits: StreamSettings, settle: Settle, tasks: Tasks
    ) -> None:
        super().__init__(call, route, settle=settle, tasks=tasks, lease=plan.lease, on_over=plan.on_over)
        self.id = ""  # drawn by `start`
        self.owner = plan.owner
        self.key = plan.key
        self.fingerprint = plan.fingerprint
        self.created = call.created
        self.announced = False
        self._plan = plan
        self._limits = limits
        self._model_id = call.model_id
        self._dialect = call.dialect.name
        self._duration_limit: asyncio.TimerHandle | None = None
        self._usage_limit: asyncio.TimerHandle | None = None  # runs from the leave of the last subscriber
        self._waiting: list[DecisionCall] = []
        self._failure: RivergateError | None = None

    def announce(self) -> None:
        """Somebody was told the id: the stream is kept for replay after its end."""
        self.announced = True

    def describe(self) -> dict[str, Any]:
        """The stream as `GET /v1/streams/{id}` tells it; times in milliseconds from the request."""
        numbers = self.stream.statistics()
        state = "ended" if numbers.ending else "streaming" if self.answer.winner else "pending"
        return describe(self.id, state, numbers, self.facts())

    def facts(self) -> StreamFacts:
        return StreamFacts(self.created, self._model_id, self._dialect, self.answer.facts())

    def progress(self) -> AnswerProgress:
        return self.answer.progress()

    def headers(self) -> dict[str, str]:
        """Who answers, how fast and at which try, as response headers; nothing while that is not known."""
        return self.answer.headers()

    def when_decided(self, call: DecisionCall) -> None:
        """Call `call` in the very call that brings the first content, or in which the answer fails before it.

        If either has happened already, `call` is called at once.
        """
        if self.state is State.ASKING:
            self._waiting.append(call)
        else:
            call(self._failure)

    # --- the stream's side (Producer)

    def stop(self, ending: Ending) -> None:
        if ending is not Ending.ABANDONED or not self._awaits_usage():
            super().stop(ending)
        elif self._usage_limit is None:
            loop = asyncio.get_running_loop()
            self._usage_limit = loop.call_later(USAGE_SECONDS, super().stop, ending)

    def pause(self) -> None:
        if self.answer.winner is not None:
            self.answer.winner.pause()

    def resume(self) -> None:
        if self.answer.winner is not None:
            self.answer.winner.resume()

    # --- the way of delivery

    def _prepare(self) -> None:
        drawn = os.urandom(ID_BYTES + EPOCH_BYTES)
        self.id = f"st_{base64.urlsafe_b64encode(drawn[:ID_BYTES]).decode()}"
        epoch, dialect = drawn[ID_BYTES:].hex(), self._call.dialect
        self.stream = Stream(
            self.id,
            epoch,
            self._limits,
            self,
            self._plan.policy,
            terminal=dialect.terminal,
            keepalive=dialect.keepalive,
        )
        if limit := self._limits.max_duration_seconds:
            loop = asyncio.get_running_loop()
            self._duration_limit = loop.call_later(limit, self._on_max_duration)

    def _deliver(self, attempt: Attempt, candidate: Candidate) -> None:
        # The content is in the log before those who wait hear of the decision: they send it together with the head.
        try:
            attempt.stream.flow_to(self._meter(attempt, candidate) or self.stream)
        finally:
            self._tell_decision()

    def _complete(self) -> None:
        self._end(Ending.COMPLETED, None, partial(self._close, Ending.COMPLETED, self._closing_frames()))

    def _break(self, error: RivergateError, ending: Ending, before: State) -> None:
        if before is State.ASKING:
            self._failure = error
            self.answer.failure(error)
        self._close(ending, self.answer.break_frames(error))
        # Only after `_close`: whoever hears the decision may leave, and the last to leave would end the stream.
        self._tell_decision()

    def _tell_at_least(self, ending: Ending) -> None:
        try:
            if self._waiting and self._failure is None:
                self._failure = GatewayError("the gateway failed to end the answer")
            self.stream.cut(ending)
        finally:
            self._tell_decision()

    def _record_id(self) -> str:
        return self.id

    # --- inside

    def _meter(self, attempt: Attempt, candidate: Candidate) -> Meter | None:
        """What stands between the attempt and the log; None if neither length nor cost is limited."""
        limits, spending = self._plan.output, self._spending(candidate)
        if not limits and spending is None:
            return None
        affordable = None
        if limits.cost_usd is not None:
            price = candidate.model.output_usd_per_mtok
            affordable = affordable_tokens(limits.cost_usd, self.answer.prompt_cost(), price)
        return Meter(self.stream, attempt.counts, limits, affordable, self.stop_with, spending)

    def _awaits_usage(self) -> bool:
        """Whether nothing of the answer is missing but its usage."""
        winner, usage = self.answer.winner, self.answer.usage()
        return winner is not None and winner.stream.finished and usage is not None and usage.estimated

    def _tell_decision(self) -> None:
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call(self._failure)

    def _on_max_duration(self) -> None:
        self.stop_with(DurationExceeded("the stream ran longer than max_duration_seconds"))

    def _close(self, ending: Ending, last_frames: list[bytes]) -> None:
        if self._duration_limit is not None:
            self._duration_limit.cancel()
        if self._usage_limit is not None:
            self._usage_limit.cancel()
        self.stream.close(ending, last_frames)

    def _closing_frames(self) -> list[bytes]:
        """The frames between the last event and the terminal: the usage, as the client's `usage_event` has it."""
        winner = self.answer.winner
        return [] if winner is None else winner.stream.closing_frames(self._report())

    def _report(self) -> AnswerReport | None:
        usage = None if self._plan.usage_event == "none" else self.answer.usage()
        return None if usage is None else AnswerReport(usage, self.answer.metadata())
