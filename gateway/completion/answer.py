"""Shell: what is known of one answer: its winner, times, usage and cost; told as headers, metadata and record."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from gateway import clock
from gateway.dialects.dialect import AnswerIdentity
from gateway.dialects.usage import Usage
from gateway.endings import Ending
from gateway.errors import RivergateError
from gateway.routing.attempt_record import AttemptEntry, AttemptRecord
from gateway.routing.call import Call
from gateway.routing.catalog import Candidate
from gateway.routing.dispatcher import Dispatcher
from gateway.routing.options import Warning_, warning
from gateway.routing.router import Route
from gateway.stream.description import AnswerFacts, AnswerProgress, answer_headers
from gateway.upstream.attempt import Attempt
from gateway.wire import json_text


class Record(NamedTuple):
    """What is kept of a completion that has ended: the line of the log, of the books and of a trace."""

    id: str  # the id of the stream, or a random id for a whole answer
    request_id: str
    operation: str  # as the dialect has it
    dialect: str  # its name
    streamed: bool
    model_id: str
    upstream: str | None
    ending: Ending
    error: str | None
    usage: Usage | None
    cost_usd: Decimal | None
    hedge_cost_usd: Decimal = Decimal(0)  # what the other attempts cost that were given up; an estimate
    strategy: str = ""
    ttft_ms: float | None = None
    gap_p50_ms: float | None = None  # the median pause between two tokens
    duration_ms: float = 0.0
    attempts: tuple[AttemptRecord, ...] = ()
    wildcard: str | None = None  # the wildcard of the configuration by which the model was found


Settle = Callable[[Record], None]


class Answer:
    """The answer to one call, as far as it has come."""

    def __init__(self, call: Call, route: Route, dispatcher: Dispatcher) -> None:
        self._call = call
        self._strategy = route.strategy
        self._warnings = route.warnings
        self._dispatcher = dispatcher
        self._started = dispatcher.began
        self._first_content: float | None = None
        self._winner: Attempt | None = None
        self._candidate: Candidate | None = None
        self._last_gaps: Mapping[str, float] | None = None  # when the record was made
        self._told: AnswerFacts | None = None  # what is told of it, once it is settled

    @property
    def winner(self) -> Attempt | None:
        return self._winner

    def on_won(self, attempt: Attempt, candidate: Candidate) -> None:
        self._winner = attempt
        self._candidate = candidate
        self._first_content = attempt.marks.first_content

    def headers(self) -> dict[str, str]:
        """The response headers that tell who answered, how fast and at which try."""
        if self._told is not None:
            return answer_headers(self._told)
        if self._candidate is None:
            return {}
        return {
            "x-upstream": self._candidate.endpoint.name,
            "x-ttft-ms": f"{self._ttft_ms() or 0:.3f}",
            "x-attempts": str(self._dispatcher.attempts),
        }

    def usage(self) -> Usage | None:
        """Tokens so far; None if no upstream answered."""
        return None if self._winner is None else self._winner.usage(self._call.prompt_tokens)

    def progress(self) -> AnswerProgress:
        """How far the answer has come, while it runs."""
        if self._winner is None or self._candidate is None:
            return AnswerProgress()
        marks, tokens = self._winner.marks, self._winner.usage(0).completion_tokens
        own = None if marks.first_content is None else round((marks.first_content - marks.started) * 1000, 3)
        return AnswerProgress(tokens, self._candidate.endpoint.name, self._ttft_ms(), own)

    def break_frames(self, error: RivergateError) -> list[bytes]:
        """The frames that end the stream with an error, in the words of its dialect."""
        if self._winner is not None:
            return self._winner.stream.break_frames(error)
        call = self._call
        identity = AnswerIdentity(call.request_id, call.created, call.model_id)
        return call.dialect.reader(identity).break_frames(error)

    def prompt_cost(self) -> Decimal:
        """The cost of the prompt at the winner, by our own count of its tokens."""
        assert self._candidate is not None
        return _cost(Usage(self._call.prompt_tokens, 0, estimated=True), self._candidate) or Decimal(0)

    def hedge_cost(self) -> Decimal:
        """The cost of the attempts that were given up: an estimate, since nobody waited for their usage."""
        return self._cost_of(self._dispatcher.given_up())

    def _cost_of(self, entries: list[AttemptEntry]) -> Decimal:
        total = Decimal(0)
        for entry in entries:
            total += _cost(self._usage_of(entry.attempt), entry.candidate) or Decimal(0)
        return total

    def _usage_of(self, attempt: Attempt) -> Usage:
        """The tokens of an attempt that was given up: the prompt at least, whatever the upstream has said so far."""
        used = attempt.usage(self._call.prompt_tokens)
        return used if used.prompt_tokens else used._replace(prompt_tokens=self._call.prompt_tokens, estimated=True)

    def metadata(self) -> dict[str, Any]:
        """The object `routing_metadata` that clients get; only after `on_won`."""
        candidate, usage = self._candidate, self.usage()
        assert candidate is not None
        assert usage is not None
        cost = _cost(usage, candidate)
        metadata: dict[str, Any] = {
            "provider": candidate.endpoint.name,
            "provider_model_id": candidate.model.upstream_id,
            "model_canonical": candidate.model.id,
            "routing_strategy": self._strategy,
            "ttft_ms": self._ttft_ms(),
            "total_latency_ms": self._elapsed_ms(),
            "throughput_tps": self._throughput_tps(usage),
            "attempts": [record.as_json() for record in self._dispatcher.records()],
            "cost": None if cost is None else {"usd": float(cost), "billable_cost_usd": float(cost)},
        }
        if usage.estimated:
            metadata["usage_estimated"] = True
        if hedge_cost := self.hedge_cost():
            metadata["hedge_cost_usd"] = float(hedge_cost)
        if warnings := [*self._warnings, *self._untaken(candidate)]:
            metadata["warnings"] = warnings
        return metadata

    def _untaken(self, candidate: Candidate) -> list[Warning_]:
        """A warning for each field of the client that this upstream was not sent."""
        reason = f"was not sent: {candidate.endpoint.name} does not take it"
        return [
            warning("unsupported_field", "field_not_sent", f"the field {field!r} {reason}")
            for field in self._call.request.untaken_fields(takes_models=candidate.endpoint.takes_models)
        ]

    def facts(self) -> AnswerFacts:
        """The upstream, the times, the usage, the cost and the attempts so far, as the stream's JSON tells them."""
        if self._told is not None:
            return self._told
        usage = self.usage()
        return self._facts(usage, _cost(usage, self._candidate), self._dispatcher.records(), self._gaps())

    def _facts(
        self,
        usage: Usage | None,
        cost: Decimal | None,
        attempts: tuple[AttemptRecord, ...],
        gaps: Mapping[str, float] | None,
    ) -> AnswerFacts:
        marks = self._winner.marks if self._winner is not None else None
        return AnswerFacts(
            upstream=self._candidate.endpoint.name if self._candidate else None,
            strategy=self._strategy,
            first_byte_ms=self._since_start(marks.first_byte) if marks else None,
            # An answer that comes whole in one read has ended before its first event is noted.
            first_event_ms=self._since_start(marks.first_event or marks.first_content) if marks else None,
            first_content_ms=self._ttft_ms(),
            gaps_ms=gaps,
            usage=_usage_json(usage) if usage else None,
            cost_usd=None if cost is None else float(cost),
            attempts=[record.as_json() for record in attempts],
        )

    def record(self, record_id: str, ending: Ending, error: str | None) -> Record:
        """The record of the answer, which is over.

        Where no attempt has won, the first one of those that were given up is what the client pays for.
        """
        paid, others = self._candidate, self._dispatcher.given_up()
        usage = self.usage()
        if paid is None and others:
            paid, usage = others[0].candidate, self._usage_of(others[0].attempt)
            del others[0]
        gaps = self._last_gaps = self._gaps()
        return self._record(
            (record_id, ending, error),
            paid,
            usage,
            hedge_cost_usd=self._cost_of(others),
            strategy=self._strategy,
            ttft_ms=self._ttft_ms(),
            gap_p50_ms=(gaps or {}).get("p50"),
            duration_ms=self._elapsed_ms(),
            attempts=self._dispatcher.records(),
        )

    def bare_record(self, record_id: str, ending: Ending, error: str | None) -> Record:
        """The record of an answer that cannot be read: it has cost the prompt, if an upstream has answered."""
        usage = Usage(self._call.prompt_tokens, 0, estimated=True) if self._candidate is not None else None
        return self._record((record_id, ending, error), self._candidate, usage)

    def _record(
        self, end: tuple[str, Ending, str | None], paid: Candidate | None, usage: Usage | None, **more: Any
    ) -> Record:
        record_id, ending, error = end
        return Record(
            id=record_id,
            request_id=self._call.request_id,
            operation=self._call.dialect.operation,
            dialect=self._call.dialect.name,
            streamed=self._call.streamed,
            model_id=paid.model.id if paid else self._call.model_id,
            upstream=paid.endpoint.name if paid else None,
            ending=ending,
            error=error,
            usage=usage,
            cost_usd=_cost(usage, paid),
            wildcard=paid.wildcard if paid else self._call.wildcard,
            **more,
        )

    def release(self, record: Record) -> None:
        """Let go of the attempts, and keep what is told of them: a kept stream keeps neither prompt nor attempts."""
        told = AnswerFacts()
        try:
            usage, cost = record.usage, record.cost_usd
            told = _encodable(self._facts(usage, cost, record.attempts, self._last_gaps), usage)
        finally:
            self._told = told
            self._winner = None
            try:
                self._dispatcher.release()
            finally:
                del self._dispatcher, self._call

    def _gaps(self) -> Mapping[str, float] | None:
        """Quantiles of the pauses between two tokens, from samples; None while there are none."""
        gaps = self._winner.gaps if self._winner is not None and self._call.streamed else None
        if gaps is None or not gaps.count:
            return None
        middle, tail = gaps.quantile(0.5) * 1000, gaps.quantile(0.95) * 1000
        return {"p50": round(middle, 3), "p95": round(tail, 3), "samples": float(gaps.count)}

    def failure(self, error: RivergateError) -> RivergateError:
        """Add the attempts, with their outcomes and times, to the details of an error; returns the error."""
        attempts = [record.as_json() for record in self._dispatcher.records()]
        error.add_details({"routing_metadata": {"attempts": attempts}})
        return error

    def _ttft_ms(self) -> float | None:
        return self._since_start(self._first_content)

    def _since_start(self, at: float | None) -> float | None:
        return None if at is None else round((at - self._started) * 1000, 3)

    def _elapsed_ms(self) -> float:
        return round((clock.monotonic() - self._started) * 1000, 3)

    def _throughput_tps(self, usage: Usage) -> float | None:
        """Tokens a second after the first one; None if there was no second one to measure by."""
        seconds = clock.monotonic() - self._first_content if self._first_content is not None else 0.0
        if usage.completion_tokens < 2 or seconds <= 0 or not self._call.streamed:
            return None
        return round((usage.completion_tokens - 1) / seconds, 2)


def _cost(usage: Usage | None, candidate: Candidate | None) -> Decimal | None:
    """The cost of these tokens at this candidate in US dollars; None without tokens or without a price."""
    if usage is None or candidate is None or candidate.prices is None:
        return None
    return candidate.prices.cost_usd(usage)


def _usage_json(usage: Usage) -> dict[str, Any]:
    return {**usage.as_json(), "estimated": usage.estimated}


def _encodable(facts: AnswerFacts, usage: Usage | None) -> AnswerFacts:
    """The facts, without the upstream's own details of the usage if no JSON can hold them."""
    if usage is None or usage.reported is None:
        return facts
    try:
        json_text.dumps(facts.usage)
    except ValueError:
        return facts._replace(usage=_usage_json(usage._replace(reported=None)))
    return facts
