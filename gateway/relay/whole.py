"""Shell: a completion that is not streamed: the same dispatch, one JSON answer."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.errors import Ending, GatewayError, RivergateError, StreamAborted
from gateway.relay.answer import Answer, Settle
from gateway.routing.catalog import Candidate
from gateway.routing.dispatcher import Call, Dispatcher
from gateway.tasks import Tasks
from gateway.upstream.attempt import Attempt


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """A completion with `usage` and `routing_metadata` added, and the headers that go with it."""

    completion: dict[str, Any]
    headers: dict[str, str]


class WholeRelay:
    """One completion, from its request to its settlement."""

    def __init__(self, call: Call, candidates: Sequence[Candidate], *, settle: Settle, tasks: Tasks) -> None:
        self._settle = settle
        self._over = False
        self._dispatcher = Dispatcher(call, candidates, self, tasks)
        self._answer = Answer(call, self._dispatcher)
        self._done: asyncio.Future[WholeAnswer] = asyncio.get_running_loop().create_future()

    async def fetch(self) -> WholeAnswer:
        """The answer. Raises what went wrong; cancelled, it closes the upstream connections at once."""
        self._dispatcher.start()
        try:
            return await self._done
        finally:
            self.stop_with(StreamAborted("the request was given up"), Ending.ABANDONED)

    def stop_with(self, error: GatewayError, ending: Ending | None = None) -> None:
        """End the request with this error; after its end it changes nothing."""
        if self._end(ending or error.ending, error.message):
            self._dispatcher.stop()
            if not self._done.done():
                self._done.set_exception(error)

    # --- the dispatcher's side (DispatchOwner)

    def on_won(self, attempt: Attempt, candidate: Candidate) -> None:
        self._answer.on_won(attempt, candidate)

    def on_complete(self) -> None:
        usage, winner = self._answer.usage(), self._answer.winner
        assert usage is not None
        assert winner is not None
        completion = {
            **(winner.whole.completion or {}),
            "usage": usage.as_json(),
            "routing_metadata": self._answer.metadata(),
        }
        if self._end(Ending.COMPLETED, None) and not self._done.done():
            self._done.set_result(WholeAnswer(completion, self._answer.headers()))

    def on_failed(self, error: RivergateError) -> None:
        if self._end(error.ending, error.message) and not self._done.done():
            self._done.set_exception(error)

    def _end(self, ending: Ending, error: str | None) -> bool:
        if self._over:
            return False
        self._over = True
        self._settle(self._answer.record(None, ending, error))
        return True
