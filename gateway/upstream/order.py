"""Pure: what an attempt is given, the times at which it came to each stage, and who hears of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.dialects.dialect import AnswerIdentity, Dialect
from gateway.errors import RivergateError
from gateway.upstream.bodies import BodyOwner, BodyReader, StreamBody
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.whole_body import WholeBody

if TYPE_CHECKING:
    from gateway.upstream.attempt import Attempt


@dataclass(slots=True)
class Marks:
    """The times at which an attempt came to each stage, by `clock.monotonic`; None: it has not come so far.

    `status`: of the answer's head.
    """

    started: float
    status: int | None = None
    connected: float | None = None
    head: float | None = None
    first_byte: float | None = None
    first_event: float | None = None
    first_content: float | None = None


class Order(NamedTuple):
    """Where an attempt sends its request, and how the answer is to be read.

    `hold_finish`: the finish is held back, to carry the usage. `is_spent`: whether a whole answer of which this many
    bytes have come has already cost more than there is. `hops`: how many redirects have led to this request.
    """

    endpoint: Endpoint
    dialect: Dialect
    identity: AnswerIdentity
    streamed: bool
    hold_finish: bool = False
    is_spent: Callable[[int], bool] | None = None
    hops: int = 0

    def new_body(self, owner: BodyOwner) -> BodyReader:
        """The reader of the answer, which tells this owner."""
        if not self.streamed:
            max_event_bytes = self.endpoint.max_event_bytes
            return WholeBody(owner, self.dialect, self.identity, self.is_spent, max_event_bytes)
        return StreamBody(
            owner,
            self.dialect.reader(
                self.identity, self.endpoint.learned.memory_of(self.dialect.name, self.identity.model)
            ),
            hold_finish=self.hold_finish,
            max_event_bytes=self.endpoint.max_event_bytes,
        )


class AttemptObserver(Protocol):
    """Whoever started an attempt and hears what becomes of it."""

    def on_content(self, attempt: "Attempt") -> None:
        """The first content is there: `stream.flow_to` takes it, `cancel` declines."""

    def on_complete(self, attempt: "Attempt") -> None:
        """The completion is over and whole; only after `on_content`."""

    def on_failed(self, attempt: "Attempt", error: RivergateError) -> None:
        """The attempt has failed, and has closed its connection or given it back."""
