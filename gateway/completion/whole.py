"""Shell: a completion that is not streamed: the same dispatch, one JSON answer."""

import asyncio
import secrets
from dataclasses import dataclass

from gateway.access.bank import Lease
from gateway.completion.answer import Answer, Settle, ending_error
from gateway.completion.purse import Purse, microusd
from gateway.endings import Ending
from gateway.errors import BALANCE_SPENT, CostExceeded, GatewayError, RivergateError, StreamAborted, UpstreamError
from gateway.routing.catalog import Candidate
from gateway.routing.dispatcher import Call, Dispatcher, Money
from gateway.routing.router import Route
from gateway.tasks import Tasks
from gateway.upstream.attempt import Attempt
from gateway.wire import json_text

ENVELOPE_BYTES = 1024  # of an answer's JSON that are no text
# Of JSON, at the most: four as of any text, the rest for escapes and tool calls. An answer on its way must not be cut
# in error; once it is there, its tokens are counted.
BYTES_PER_TOKEN = 16


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """A completion as JSON with `usage` and `routing_metadata` added, and the headers that go with it."""

    content: bytes
    headers: dict[str, str]


class WholeCompletion:
    """One completion, from its request to its settlement."""

    def __init__(self, call: Call, route: Route, *, settle: Settle, tasks: Tasks, lease: Lease | None = None) -> None:
        self.id = f"whole_{secrets.token_hex(8)}"
        self._settle = settle
        self._over = False
        self._lease = lease if lease is not None and lease.has_balance else None
        self._prompt_tokens = call.prompt_tokens
        self._candidate: Candidate | None = None
        money = None
        if self._lease is not None:
            money = Money(self._lease.covers_another, None if call.body.get("logprobs") else self._is_spent)
        self._dispatcher = Dispatcher(call, route, self, tasks, money)
        self._answer = Answer(call, route, self._dispatcher)
        self._done: asyncio.Future[WholeAnswer] = asyncio.get_running_loop().create_future()

    async def fetch(self) -> WholeAnswer:
        """The answer. Raises what went wrong; cancelled, it closes the upstream connections at once."""
        self._dispatcher.start()
        try:
            return await self._done
        finally:
            self.stop_with(StreamAborted("the request was given up"), Ending.ABANDONED)
            del self._done  # which holds what it raised, and that these frames

    def stop(self, ending: Ending) -> None:
        """End the request for this reason."""
        self.stop_with(ending_error(ending), ending)

    def stop_with(self, error: GatewayError, ending: Ending | None = None) -> None:
        """End the request with this error; after its end it changes nothing."""
        if not self._over:
            self._dispatcher.stop()
            self._fail(error, ending or error.ending)

    # --- the dispatcher's side (DispatchOwner)

    def on_won(self, attempt: Attempt, candidate: Candidate) -> None:
        self._candidate = candidate
        self._answer.on_won(attempt, candidate)

    def on_complete(self) -> None:
        usage, winner = self._answer.usage(), self._answer.winner
        assert usage is not None
        assert winner is not None
        assert self._candidate is not None
        if not self._covers(self._candidate, usage.completion_tokens):
            self.on_failed(CostExceeded(BALANCE_SPENT))
            return
        told = {"usage": usage.as_json(), "routing_metadata": self._answer.metadata()}
        try:
            content = json_text.dumps({**(winner.whole.completion or {}), **told})
        except ValueError as problem:
            self.on_failed(UpstreamError(f"the upstream's answer cannot be told: {problem}"))
            return
        if self._end(Ending.COMPLETED, None) and not self._done.done():
            self._done.set_result(WholeAnswer(content, self._answer.headers()))

    def on_failed(self, error: RivergateError) -> None:
        self._fail(error, error.ending)

    def _is_spent(self, candidate: Candidate, body_bytes: int) -> bool:
        """Whether so much of a body has surely cost more than there is."""
        return not self._covers(candidate, max(body_bytes - ENVELOPE_BYTES, 0) // BYTES_PER_TOKEN)

    def _covers(self, candidate: Candidate, tokens: int) -> bool:
        """Reserve what an answer of so many tokens costs there, as far as there is; whether that was enough."""
        lease, model = self._lease, candidate.model
        if lease is None:
            return True
        prompt = microusd(self._prompt_tokens, model.input_usd_per_mtok)
        paid = Purse(lease.reserved, prompt, model.output_usd_per_mtok, lease.extend).tokens(tokens)
        return paid is None or tokens <= paid

    def _fail(self, error: RivergateError, ending: Ending) -> None:
        self._answer.failure(error)
        if self._end(ending, error.reason) and not self._done.done():
            self._done.set_exception(error)

    def _end(self, ending: Ending, error: str | None) -> bool:
        if self._over:
            return False
        self._over = True
        self._settle(self._answer.settle(self.id, ending, error))
        return True
