"""Shell: one stream's life: dispatch, then frames into the log, then the end and the settlement.

In: a validated call and its candidates. Out: a `Stream` that readers join, and one `Record` when it is over. The
invariant: the log is closed exactly once, and settled in the same call.
"""

import asyncio
import base64
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.access.accounts import Lease
from gateway.completion.answer import Answer, Record, Settle, ending_error
from gateway.completion.meter import Meter, OutputLimits, affordable_tokens
from gateway.completion.purse import Purse, ceil_microusd
from gateway.config import StreamSettings
from gateway.dialects.chat import reader as chat
from gateway.endings import Ending
from gateway.errors import DurationExceeded, RivergateError
from gateway.routing.catalog import Candidate
from gateway.routing.dispatcher import Call, Dispatcher, Money
from gateway.routing.router import Route
from gateway.stream.audience import Policy
from gateway.stream.stream import Stream
from gateway.tasks import Tasks
from gateway.upstream.attempt import Attempt
from gateway.wire import json_text, sse

ID_BYTES = 18  # 144 bits: not to be guessed
EPOCH_BYTES = 6
UsageEvent = Literal["event", "finish", "none"]
Decided = Callable[[RivergateError | None], None]  # the failure; None: there is content


@dataclass(frozen=True, slots=True)
class Plan:
    """How a stream is kept: whose it is, by which key it is found again, what becomes of it without readers."""

    owner: str
    policy: Policy
    usage_event: UsageEvent = "none"
    key: str | None = None  # X-Stream-Key
    fingerprint: bytes = b""  # of the request, so that a key is not used for another
    output: OutputLimits = field(default_factory=OutputLimits)
    lease: Lease | None = None  # of the key's money; None: nobody pays


class StreamedCompletion:
    """A streamed completion, from its request, which it sends as soon as it is made, to its settlement."""

    def __init__(
        self,
        call: Call,
        route: Route,
        plan: Plan,
        *,
        limits: StreamSettings,
        settle: Settle,
        tasks: Tasks,
    ) -> None:
        money = Money(plan.lease.covers_another) if plan.lease is not None else None
        self._dispatcher = Dispatcher(call, route, self, tasks, money)
        self._dispatcher.start()
        # The rest while the request is on its way: no answer can come before this call returns.
        drawn = os.urandom(ID_BYTES + EPOCH_BYTES)
        self.id = f"st_{base64.urlsafe_b64encode(drawn[:ID_BYTES]).decode()}"
        self.owner = plan.owner
        self.key = plan.key
        self.fingerprint = plan.fingerprint
        self.created = call.created
        self._model_id = call.model_id
        self._usage_event = plan.usage_event
        self._settle = settle
        self._output = plan.output
        self._lease = plan.lease
        self._decided = False  # there is content, or there will be none
        self._on_decided: list[Decided] = []
        self._failure: RivergateError | None = None
        self.announced = False  # somebody was told its id: it is kept for replay
        self.answer = Answer(call, route, self._dispatcher)
        self.stream = Stream(self.id, drawn[ID_BYTES:].hex(), limits, self, plan.policy, terminal=sse.DONE)
        limit, loop = limits.max_duration_seconds, asyncio.get_running_loop()
        self._duration_limit = loop.call_later(limit, self._on_max_duration) if limit else None

    def describe(self) -> dict[str, Any]:
        """The stream as `GET /v1/streams/{id}` tells it; times in milliseconds from the request."""
        numbers = self.stream.statistics()
        state = "ended" if numbers.ending else "streaming" if self.answer.winner else "pending"
        return {
            "id": self.id,
            "object": "stream",
            "created": self.created,
            "model": self._model_id,
            "state": state,
            "ending": numbers.ending,
            "readers": numbers.subscribers,
            "readers_total": numbers.subscribers_total,
            "lag_events": numbers.lag_events,
            "lagged_readers": numbers.lagged_subscribers,
            "events": numbers.events,
            "bytes": numbers.bytes,
            "deliveries": numbers.deliveries,
            "sends": numbers.sends,
            **self.answer.describe(),
        }

    def headers(self) -> dict[str, str]:
        """Who answers, how fast and at which try, as response headers; nothing while that is not known."""
        return self.answer.headers()

    def when_decided(self, call: Decided) -> None:
        """Call this as soon as there is content, in the very call that brings it, or, with the failure, as soon as
        it is certain that there will be none.
        """
        if self._decided:
            call(self._failure)
        else:
            self._on_decided.append(call)

    # --- the dispatcher's side (DispatchOwner)

    def on_won(self, attempt: Attempt, candidate: Candidate) -> None:
        self.answer.on_won(attempt, candidate)
        self._decided = True
        # First into the log, then to those who waited for it: each of them gets it in one piece with its head.
        try:
            attempt.flow_to(self._metered(attempt, candidate) if self._output or self._lease else self.stream)
        finally:
            self._tell_decision()

    def on_complete(self) -> None:
        self._close(Ending.COMPLETED, self._closing_frames(), None)

    def on_failed(self, error: RivergateError) -> None:
        self._end_with(error, error.ending)

    # --- the stream's side (Producer)

    def pause(self) -> None:
        if self.answer.winner is not None:
            self.answer.winner.pause()

    def resume(self) -> None:
        if self.answer.winner is not None:
            self.answer.winner.resume()

    def stop(self, ending: Ending) -> None:
        """End the stream for this reason; its upstream connections are closed in this call."""
        self._end_with(ending_error(ending), ending)

    def stop_with(self, error: RivergateError) -> None:
        """End the stream with this error for its readers."""
        self._end_with(error, error.ending)

    # --- inside

    def _tell_decision(self) -> None:
        calls, self._on_decided = self._on_decided, []
        for call in calls:
            call(self._failure)

    def _metered(self, attempt: Attempt, candidate: Candidate) -> Meter:
        limits, affordable, lease = self._output, None, self._lease
        purse = None
        if lease is not None and lease.account.balance is not None:
            asking = self.answer.prompt_cost() + self.answer.hedge_cost()  # who lost the race has lost it by now
            prompt = ceil_microusd(asking * 1_000_000)
            purse = Purse(lease.reserved, prompt, candidate.model.output_usd_per_mtok, lease.extend)
        if limits.cost_usd is not None:
            affordable = affordable_tokens(
                limits.cost_usd, self.answer.prompt_cost(), candidate.model.output_usd_per_mtok
            )
        return Meter(self.stream, attempt.stream.chat.counts, limits, affordable, self.stop_with, purse)

    def _on_max_duration(self) -> None:
        self.stop_with(DurationExceeded("the stream ran longer than max_duration_seconds"))

    def _end_with(self, error: RivergateError, ending: Ending) -> None:
        if self.stream.ending is not None:
            return
        self._dispatcher.stop()
        if self.answer.winner is None:
            self.answer.failure(error)
        if not self._decided:
            self._decided = True
            self._failure = error
        try:
            self._close(ending, [sse.frame(json_text.dumps(error.envelope()))], error.reason)
        finally:
            self._tell_decision()  # behind the end: whoever hears it may leave, and the last to do so ends a stream

    def _close(self, ending: Ending, last_frames: list[bytes], error: str | None) -> None:
        if self._duration_limit is not None:
            self._duration_limit.cancel()
        self.stream.close(ending, last_frames)
        settle, self._settle = self._settle, _settled
        settle(self.answer.settle(self.id, ending, error))
        del self._dispatcher

    def _closing_frames(self) -> list[bytes]:
        """What goes between the last chunk and `[DONE]`: the usage, as the policy has it."""
        if self._usage_event == "none" or self.answer.winner is None or (usage := self.answer.usage()) is None:
            return []
        told = {"usage": usage.as_json(), "routing_metadata": self.answer.metadata()}
        body = self.answer.winner.stream
        if self._usage_event == "finish" and body.finish_frame is not None:
            return [chat.extended(body.finish_frame, told)]
        return [sse.frame(json_text.dumps({**body.chat.identity(), "choices": [], **told}))]


def _settled(record: Record) -> None:
    """Nothing: it is done once, and what it needed is let go of."""
