"""Wiring: what the handlers share; built by the service."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from aiohttp import web

from gateway.access.bank import Bank, Lease
from gateway.access.books_thread import BooksThread
from gateway.access.callers import Gate
from gateway.access.cors import Cors
from gateway.access.key_ring import KeyRing
from gateway.access.seats import Seats
from gateway.access.viewer_token import SigningKey
from gateway.cluster.directory import Directory
from gateway.completion.answer import Record
from gateway.config import Config
from gateway.delivery.watch import Watch
from gateway.dialects.dialect import Dialect
from gateway.dialects.registry import DIALECTS
from gateway.errors import ServiceUnavailable
from gateway.feeds.built_in import BuiltInFeed
from gateway.feeds.source import SourceFeed
from gateway.http.aiohttp_seam import Census
from gateway.observe.trace import Span, Tracing
from gateway.routing.router import Router
from gateway.stream.hub import Hub
from gateway.stream.stream import Stream
from gateway.tasks import Tasks


@dataclass(slots=True)
class Context:
    config: Config
    router: Router
    hub: Hub
    tasks: Tasks
    settle: Callable[[Record, Lease | None, Span], None]
    tracing: Tracing
    books: BooksThread
    keys: KeyRing
    bank: Bank
    directory: Directory
    gate: Gate
    cors: Cors
    started_at: int  # Unix seconds
    feeds: Mapping[str, SourceFeed | BuiltInFeed]
    signing_keys: Sequence[SigningKey]  # of viewer tokens; the first one signs
    census: Census = field(default_factory=Census)
    seats: Seats = field(default_factory=Seats)
    max_connections: int = 0  # as far as the file descriptors go
    watch: Watch | None = None  # of sockets that were taken over; there is one while the service runs
    ready: bool = False
    exposition: Callable[[], bytes] = bytes  # of the metrics
    dialects: Sequence[Dialect] = DIALECTS

    def connections(self) -> int:
        """Client connections, those that were taken over included."""
        return self.census.connections + (len(self.watch) if self.watch is not None else 0)


CONTEXT = web.AppKey("context", Context)


def take_seat(context: Context, stream: Stream, owner: str) -> Callable[[], None] | None:
    """A place among the readers of a stream, and a subscription for the key that pays for what is read.

    What to call at its end; None if that is nobody's: of the machine's own user, or of viewers of a feed, who come by
    a token. Raises `ServiceUnavailable`, `RateLimited`.
    """
    if stream.readers >= context.config.stream.max_subscribers:
        message = "this stream has all the readers that it may have"
        raise ServiceUnavailable(message, retry_after=1 + secrets.randbelow(5))
    if not owner:
        return None
    context.seats.take(owner, context.config.stream.max_subscribers_per_key, retry_after=1 + secrets.randbelow(5))
    return partial(context.seats.leave, owner)


def refusal_for_capacity(context: Context, method: str) -> ServiceUnavailable | None:
    """Nothing new while draining, nor over `max_connections`; those that are served already are not touched.

    A connection that was kept alive over the beginning of the drain gets no new completion out of it.
    """
    if not context.ready and method == "POST":
        return ServiceUnavailable("the gateway is shutting down; try again", retry_after=1)
    if context.connections() > context.max_connections:
        wait = 1 + secrets.randbelow(5)  # jittered: they do not all come back at once
        return ServiceUnavailable("the gateway has all the connections it may have", retry_after=wait)
    return None
