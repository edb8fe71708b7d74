"""Shell: a completion that is not streamed: one JSON document when all of the answer is there."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from gateway.access.bank import Lease
from gateway.completion.answer import Settle
from gateway.completion.completion import Completion, State
from gateway.dialects.dialect import AnswerReport
from gateway.endings import Ending
from gateway.errors import BALANCE_SPENT, CostExceeded, GatewayError, RivergateError, StreamAborted, UpstreamError
from gateway.routing.call import Call
from gateway.routing.catalog import Candidate
from gateway.routing.router import Route
from gateway.tasks import Tasks
from gateway.upstream.attempt import Attempt
from gateway.wire.json_pieces import LongText

ENVELOPE_BYTES = 1024  # the part of an answer's JSON that holds no text
# The most bytes of JSON that one token takes: four of text, the rest for escapes and tool calls. An answer on its way
# must not be cut by a wrong guess; once it is there, its tokens are counted.
MAX_JSON_BYTES_PER_TOKEN = 16


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """A completion as JSON with `usage` and `routing_metadata` added, and the headers that go with it."""

    content: bytes | LongText
    headers: dict[str, str]


class WholeCompletion(Completion):
    """A completion that is read to its end before any of it is passed on (`stream.production.Running`)."""

    def __init__(
        self,
        call: Call,
        route: Route,
        *,
        settle: Settle,
        tasks: Tasks,
        lease: Lease | None = None,
        on_over: Callable[[str], None] | None = None,
    ) -> None:
        self.id = f"whole_{secrets.token_hex(8)}"
        is_spent = self._is_spent if call.request.length_tells_tokens() else None
        super().__init__(call, route, settle=settle, tasks=tasks, lease=lease, on_over=on_over, is_spent=is_spent)
        self._candidate: Candidate | None = None
        self._result: asyncio.Future[WholeAnswer] = asyncio.get_running_loop().create_future()

    async def wait_answer(self) -> WholeAnswer:
        """Wait for the answer, after `start`. Raises its failure; cancelled, it closes the upstream connections."""
        try:
            return await self._result
        finally:
            self.stop_with(StreamAborted("the request was given up"), Ending.ABANDONED)
            del self._result  # breaks a cycle: the future holds its exception, whose traceback holds this frame

    # --- the way of delivery

    def _prepare(self) -> None:
        """Nothing: the answer is built when all of it is there."""

    def _deliver(self, attempt: Attempt, candidate: Candidate) -> None:
        self._candidate = candidate

    def _complete(self) -> None:
        usage, winner = self.answer.usage(), self.answer.winner
        assert usage is not None
        assert winner is not None
        assert self._candidate is not None
        if not self._covers(self._candidate, usage.completion_tokens):
            self.on_failed(CostExceeded(BALANCE_SPENT))
            return
        document = winner.whole.document
        assert document is not None
        try:
            content = document.encode(AnswerReport(usage, self.answer.metadata()))
        except ValueError as problem:
            self.on_failed(UpstreamError(f"the upstream's answer cannot be told: {problem}"))
            return
        self._end(Ending.COMPLETED, None, partial(self._resolve, WholeAnswer(content, self.answer.headers())))

    def _break(self, error: RivergateError, ending: Ending, before: State) -> None:
        try:
            self.answer.failure(error)
        finally:
            self._refuse(error)

    def _tell_at_least(self, ending: Ending) -> None:
        self._refuse(GatewayError("the gateway failed to end the answer"))

    def _record_id(self) -> str:
        return self.id

    # --- inside

    def _is_spent(self, candidate: Candidate, body_bytes: int) -> bool:
        """Whether a body of this length has surely cost more than the key has."""
        return not self._covers(candidate, max(body_bytes - ENVELOPE_BYTES, 0) // MAX_JSON_BYTES_PER_TOKEN)

    def _covers(self, candidate: Candidate, tokens: int) -> bool:
        """Whether an answer of this many tokens is paid for, after reserving what was missing."""
        spending = self._spending(candidate)
        return spending is None or spending.covers(tokens)

    def _resolve(self, whole: WholeAnswer) -> None:
        if not self._result.done():
            self._result.set_result(whole)

    def _refuse(self, error: RivergateError) -> None:
        if not self._result.done():
            self._result.set_exception(error)
