"""Pure: one request for an answer, as routing sees it, and what the key of the request can pay for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from gateway.dialects.dialect import Dialect, DialectRequest
from gateway.routing.catalog import Candidate


class Call(NamedTuple):
    """One request for an answer, after validation.

    `streamed`: the upstream is to stream its answer. `hold_finish`: the finish is held back, to carry the usage.
    """

    request_id: str
    model_id: str
    dialect: Dialect
    request: DialectRequest
    streamed: bool
    created: int  # Unix seconds
    prompt_tokens: int = 0  # as the gateway itself estimates them
    hold_finish: bool = False
    traceparent: str | None = None  # the header for the upstream; None: no trace
    wildcard: str | None = None  # the wildcard by which the model was found
    headers: Mapping[str, str] = MappingProxyType({})  # the client's, of which an upstream may get some
    query: str = ""  # of the client's target, percent-encoded, if the dialect passes it on


@dataclass(frozen=True, slots=True)
class Money:
    """What the key of a request can pay for.

    `covers_hedge` reserves money for one more attempt and returns whether there was enough. `covers_next` does so for
    an attempt on a candidate, after others were given up that have to be paid. `is_spent` says of a candidate whether
    this many bytes of its whole answer have surely cost more than there is.
    """

    covers_hedge: Callable[[], bool]
    covers_next: Callable[[Candidate], bool]
    is_spent: Callable[[Candidate, int], bool] | None = None
