"""Shell: one completion's life, whichever way its answer is delivered: dispatch, answer, money, settlement.

In: a validated call, its route, and the lease of the key that pays. Out: one `Record`. The invariant: a completion
ends exactly once, by its answer's end, by a failure or by a stop, and is settled in the very call that ends it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from functools import partial

from gateway.access.bank import Lease
from gateway.completion.answer import Answer, Record, Settle
from gateway.completion.spending import MICRO, Spending, ceil_microusd
from gateway.endings import Ending
from gateway.errors import Draining, GatewayError, RivergateError, StreamAborted
from gateway.routing.call import Call, Money
from gateway.routing.catalog import Candidate
from gateway.routing.dispatcher import Dispatcher
from gateway.routing.router import Route
from gateway.tasks import Tasks
from gateway.upstream.attempt import Attempt


class State(Enum):
    """Where a completion is: `ASKING` -> `ANSWERING` -> `ENDED`, or from `ASKING` to `ENDED` at once."""

    ASKING = "asking"  # no upstream has brought content yet
    ANSWERING = "answering"  # an attempt has won
    ENDED = "ended"  # settled


class Completion(ABC):
    """One answer, from its request to its settlement. A subclass is a way in which the answer is delivered."""

    answer: Answer

    def __init__(
        self,
        call: Call,
        route: Route,
        *,
        settle: Settle,
        tasks: Tasks,
        lease: Lease | None,
        on_over: Callable[[str], None] | None = None,
        is_spent: Callable[[Candidate, int], bool] | None = None,
    ) -> None:
        """`settle` takes the record. `lease`: the money reserved for the request; None: nobody pays.

        `on_over(record_id)` is called if `settle` fails: the completion runs no more, whatever becomes of its record.
        `is_spent(candidate, body_bytes)`: whether a whole answer of this length has cost more than the key has.
        """
        self.state = State.ASKING
        self._call = call
        self._route = route
        self._settle = settle
        self._granted = lease
        self._on_over = on_over or _forget
        self._lease = lease if lease is not None and lease.has_balance else None
        money = Money(self._lease.covers_another, self._covers_next, is_spent) if self._lease is not None else None
        self._dispatcher = Dispatcher(call, route, self, tasks, money)

    def start(self) -> None:
        """Send the request. What only its answer needs is made while the request is on its way."""
        try:
            self._dispatcher.start()
            self.answer = Answer(self._call, self._route, self._dispatcher)
            self._prepare()
        except BaseException:
            self._dispatcher.cancel()
            raise

    def when_settled(self, call: Settle) -> None:
        """Call `call` with the record, too, as soon as the completion is settled; before it has been."""
        self._settle = partial(_settle_both, self._settle, call)

    def stop(self, ending: Ending) -> None:
        """End the completion for this reason; its upstream connections are closed in this call."""
        self._fail(stop_error(ending), ending)

    def stop_with(self, error: RivergateError, ending: Ending | None = None) -> None:
        """End the completion with this error; `ending` takes the place of the error's own ending."""
        self._fail(error, ending or error.ending)

    # --- the dispatcher's side (DispatchOwner)

    def on_won(self, attempt: Attempt, candidate: Candidate) -> None:
        self.state = State.ANSWERING
        self.answer.on_won(attempt, candidate)
        self._deliver(attempt, candidate)

    def on_complete(self) -> None:
        self._complete()

    def on_failed(self, error: RivergateError) -> None:
        self._fail(error, error.ending)

    # --- what a way of delivery says

    @abstractmethod
    def _prepare(self) -> None:
        """Make what the answer needs, while the request is on its way."""

    @abstractmethod
    def _deliver(self, attempt: Attempt, candidate: Candidate) -> None:
        """Take the answer of the attempt that has won."""

    @abstractmethod
    def _complete(self) -> None:
        """End a complete answer: call `_end`, which tells whoever asked, or `_fail` if it cannot be given."""

    @abstractmethod
    def _break(self, error: RivergateError, ending: Ending, before: State) -> None:
        """Tell whoever asked that the answer broke off, or never began; `before`: where the completion was then."""

    @abstractmethod
    def _tell_at_least(self, ending: Ending) -> None:
        """Tell whoever asked, and was not told by `_complete` or `_break`, that the answer is over. Idempotent."""

    @abstractmethod
    def _record_id(self) -> str:
        """The id under which the completion is recorded."""

    # --- the money

    def _spending(self, candidate: Candidate) -> Spending | None:
        """What the lease pays for if this candidate answers; None: the key has no balance."""
        lease = self._lease
        if lease is None:
            return None
        return Spending(lease.reserved, self._prompts(candidate), candidate.model.output_usd_per_mtok, lease.extend)

    def _covers_next(self, candidate: Candidate) -> bool:
        """Whether the prompt of the next attempt is paid for beside all that is spent; reserves what is missing."""
        lease = self._lease
        if lease is None:
            return True
        needed = self._prompts(candidate)
        return lease.reserved >= needed or lease.extend(needed - lease.reserved) >= needed

    def _prompts(self, candidate: Candidate) -> int:
        """What the prompt costs at this candidate, and what attempts have cost that lost or were given up."""
        prompt = self._call.prompt_tokens * (candidate.model.input_usd_per_mtok or Decimal(0))
        return ceil_microusd(prompt + self.answer.hedge_cost() * MICRO)

    # --- the end

    def _fail(self, error: RivergateError, ending: Ending) -> None:
        if not self._is_over():
            tell = partial(self._break, error, ending, self.state)
            try:
                self._dispatcher.cancel()
            finally:
                try:
                    self._end(ending, error.reason, tell)
                except BaseException:
                    if not self._is_over():  # it failed before it began
                        self._end(ending, error.reason, tell)
                    raise

    def _is_over(self) -> bool:
        return self.state is State.ENDED

    def _end(self, ending: Ending, reason: str | None, tell: Callable[[], None]) -> None:
        """Call `tell` for whoever asked, and settle, whatever fails."""
        self.state = State.ENDED
        try:
            tell()
        except BaseException:
            self._tell_at_least(ending)
            raise
        finally:
            try:
                self._settle_once(ending, reason)
            except BaseException:
                if self._settle is not _settled:  # it failed before it came to the record
                    self._settle_once(ending, reason)
                self._on_over(self._record_id())
                raise

    def _settle_once(self, ending: Ending, reason: str | None) -> None:
        """Take the steps of the settlement: a step that fails keeps no later one from being taken.

        A record that cannot be made is replaced by a bare one. The attempts and the call are let go of: a kept stream
        keeps no prompt, and nothing waits for the collector.
        """
        answer, record_id, record = self.answer, self._record_id(), None
        try:
            record = answer.record(record_id, ending, reason)
        finally:
            try:
                record = record or answer.bare_record(record_id, ending, reason)
                settle, self._settle = self._settle, _settled
                try:
                    settle(record)
                finally:
                    answer.release(record)
            finally:
                self._let_go()

    def _let_go(self) -> None:
        if self._granted is not None:
            self._granted.close()  # as the bank has done, if it got the record
        self._granted = self._lease = None
        for name in ("_dispatcher", "_call", "_route"):
            self.__dict__.pop(name, None)


def stop_error(ending: Ending) -> GatewayError:
    """The error that tells of a completion which the gateway ends on its own account."""
    if ending is Ending.DRAINED:
        return Draining("the gateway is shutting down; try again", retry_after=1)
    return StreamAborted(f"the stream was ended: {ending}")


def _settle_both(settle: Settle, call: Settle, record: Record) -> None:
    """Settle a record, and pass it on, whatever fails."""
    try:
        settle(record)
    finally:
        call(record)


def _forget(record_id: str) -> None:
    """Do nothing: nobody counts the completion among those that run."""


def _settled(record: Record) -> None:
    """Ignore a second record: a completion is settled once."""
