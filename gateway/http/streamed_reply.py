"""Shell: the reply to one client whose answer is streamed, from the start of the answer to the last byte.

It has no task: the call that brings the upstream's bytes also writes to the client's socket. The invariant: `on_end`
is called exactly once, and from then on the reply does not touch the connection.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from gateway.delivery.sinks import TransportSink
from gateway.delivery.subscriber import Subscriber
from gateway.endings import Ending
from gateway.errors import RivergateError
from gateway.http.admission import Admission
from gateway.http.channels import ChannelSubscriptions
from gateway.http.client_connection import ClientProtocol
from gateway.http.event_stream import EventStreamHead
from gateway.http.in_force import InForce
from gateway.http.opening import Opening, OpeningParts
from gateway.http.places import Leave, Places
from gateway.http.refusals import Refusals
from gateway.http.subscriptions import Subscriptions
from gateway.http.turns import Turns
from gateway.http.waiting import WaitingBytes
from gateway.stream.production import Production
from gateway.wire import http1


@dataclass(frozen=True, slots=True)
class ReplyParts:
    """The parts of the gateway that every reply uses."""

    opening: OpeningParts
    places: Places
    subscriptions: Subscriptions
    channels: ChannelSubscriptions
    admission: Admission
    in_force: InForce
    refusals: Refusals
    waiting: WaitingBytes
    turns: Turns


class StreamedReply:
    """The streamed reply to one request."""

    __slots__ = (
        "_client",
        "_completion",
        "_head",
        "_on_end",
        "_over",
        "_sink",
        "_subscriber",
        "_timer",
        "head_bytes",
    )

    _completion: Production
    _head: EventStreamHead

    def __init__(self, client: ClientProtocol, on_end: Callable[[Exception | None], None]) -> None:
        """Make a reply that has not started.

        `on_end` gets None when all has been written, else the error: a `ConnectionResetError` if the client is gone;
        any other came before the head, and the caller has to tell it to the client.
        """
        self._client = client
        self._on_end = on_end
        self._over = False
        self._subscriber: Subscriber | None = None
        self._sink: TransportSink | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.head_bytes = 0  # the length of the head that was written; above 0, no error can be told any more

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may serve another request."""
        return self._head.keep_alive

    def start(self, opening: Opening, parts: ReplyParts, *, chunked: bool, keep_alive: bool) -> None:
        """Ask the upstreams, or join an existing answer. The opening has to be admitted before."""
        try:
            self._start(opening, parts, chunked=chunked, keep_alive=keep_alive)
        except RivergateError as error:
            self._end(error.with_traceback(None))  # its traceback would hold the stack frames that hold the error
        except Exception as error:
            self._end(error)

    def fail(self, error: Exception) -> None:
        """End the reply with this error, if it is not over yet."""
        self._end(error)

    def _start(self, opening: Opening, parts: ReplyParts, *, chunked: bool, keep_alive: bool) -> None:
        client = self._client
        completion = self._completion = opening.open()
        leave = parts.places.take(completion.stream, completion.owner) if opening.joins else None
        # The request is on its way to the upstream by now; the rest is built while its answer is awaited.
        try:
            subscriber = self._subscriber = completion.stream.join(chunked=chunked)
        except BaseException:
            if leave is not None:
                leave()
            else:
                completion.stop(Ending.INTERNAL_ERROR)  # nobody would read the answer
            raise
        subscriber.when_ended(partial(self._on_subscriber_end, subscriber, leave))
        answer_headers = {**parts.admission.answer_headers(opening.head), "x-stream-id": completion.id}
        self._head = EventStreamHead(answer_headers, chunked=chunked, keep_alive=keep_alive)
        end = http1.LAST_CHUNK if chunked else b""
        if client.transport is not None:
            self._sink = TransportSink(client.transport, client.borrowed, body_end=end)
        client.watch(self._on_gone)
        patience = parts.in_force.config.stream.commit_after_ms / 1000
        self._timer = asyncio.get_running_loop().call_later(patience, self._on_quiet)
        completion.when_decided(self._on_decided)

    # --- what happens

    def _on_decided(self, failure: RivergateError | None) -> None:
        """Begin the reply with the first content, or end it with the failure, after which no content will come."""
        if failure is None:
            self._begin()
        elif not self.head_bytes:
            gone = self._subscriber is not None and self._subscriber.ending is not None  # the cause of the failure
            self._end(ConnectionResetError("the client is gone") if gone else failure)

    def _on_quiet(self) -> None:
        """Send the head and a comment, since the content takes long: the client is not to give up."""
        self._begin()
        if self._subscriber is not None:
            self._subscriber.keep_alive()

    def _on_gone(self) -> None:
        """End the subscriber of a client that has hung up, whether or not the stream has other subscribers."""
        if self._subscriber is not None:
            self._subscriber.on_hang_up()

    def _on_subscriber_end(self, subscriber: Subscriber, leave: Leave | None) -> None:
        if leave is not None:
            leave()
        whole = subscriber.ending is Ending.COMPLETED
        self._end(None if whole else ConnectionResetError("the subscriber is gone"))

    # --- inside

    def _begin(self) -> None:
        """Write the head, and all frames that are there; called with the first content, or before it comes."""
        try:
            self._write_head()
        except Exception as error:
            self._end(error)

    def _write_head(self) -> None:
        subscriber = self._subscriber
        if self.head_bytes or self._over or subscriber is None:
            return
        self._stop_timer()
        completion, sink, client = self._completion, self._sink, self._client
        completion.announce()
        if sink is None or client.transport is None or client.transport.is_closing():
            subscriber.end()
            return
        head = self._head.encode(completion.headers())
        self.head_bytes = len(head)
        sink.begin_with(head)
        client.feed_sink(sink, subscriber.on_writable)
        subscriber.attach(sink)

    def _end(self, outcome: Exception | None) -> None:
        if self._over:
            return
        self._over = True
        self._stop_timer()
        self._client.unwatch()
        if self._subscriber is not None:
            self._subscriber.end()
            # The subscriber forgets the reply, so that neither has to wait for the garbage collector.
            self._subscriber.when_ended(None)
        if self._sink is not None:
            self._sink.close()
        on_end, self._on_end = self._on_end, _ignore
        on_end(outcome)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _ignore(outcome: Exception | None) -> None:
    """Replaces `on_end` after its call, so that what it holds can be freed."""
