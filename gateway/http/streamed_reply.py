"""Shell: one streamed completion to one client, from its start to the last byte, or to why there is none.

It runs by calls, not in a task: what the upstream's bytes set off reaches the client's socket in the same call.
The invariant: `on_end` is called exactly once, and from then on nothing of the exchange touches the connection.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from gateway.completion.streamed import StreamedCompletion
from gateway.delivery.sinks import TransportSink
from gateway.delivery.subscriber import Subscriber
from gateway.endings import Ending
from gateway.errors import RivergateError
from gateway.http.admission import common_headers
from gateway.http.aiohttp_seam import ClientProtocol
from gateway.http.context import Context, take_seat
from gateway.http.event_stream import EventStream
from gateway.http.opening import Opening
from gateway.wire import http1


class StreamedReply:
    """Of an opened request whose answer is a stream."""

    __slots__ = ("_client", "_events", "_on_end", "_over", "_reader", "_relay", "_sink", "_timer", "head_bytes")

    _relay: StreamedCompletion
    _events: EventStream

    def __init__(self, client: ClientProtocol, on_end: Callable[[Exception | None], None]) -> None:
        """`on_end` gets None when all has been written, else why it was not. A `ConnectionResetError`: the client is
        gone; any other failure came before the head, and is to be told.
        """
        self._client = client
        self._on_end = on_end
        self._over = False
        self._reader: Subscriber | None = None
        self._sink: TransportSink | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.head_bytes = 0  # that were written; with the first of them it is too late to tell an error

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may serve another request."""
        return self._events.keep_alive

    def start(self, opening: Opening, context: Context, *, chunked: bool, keep_alive: bool) -> None:
        """Ask the upstreams, or join the answer that is there."""
        try:
            self._start(opening, context, chunked=chunked, keep_alive=keep_alive)
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """End it with this, unless it is over."""
        self._end(error)

    def _start(self, opening: Opening, context: Context, *, chunked: bool, keep_alive: bool) -> None:
        client, requester = self._client, opening.requester
        relay = self._relay = opening.open()
        leave = take_seat(context, relay.stream, relay.owner) if opening.joins else None
        # From here on the upstream has the request, and what is done is done while it is waited for.
        common = common_headers(requester, context.cors)
        self._events = EventStream({**common, "x-stream-id": relay.id}, chunked=chunked, keep_alive=keep_alive)
        reader = self._reader = relay.stream.join(chunked=chunked)
        reader.when_ended(partial(self._on_reader_end, reader, leave))
        end = http1.LAST_CHUNK if chunked else b""
        self._sink = TransportSink(client.transport, body_end=end) if client.transport is not None else None
        client.watch(self._on_gone)
        patience = context.config.stream.commit_after_ms / 1000
        self._timer = asyncio.get_running_loop().call_later(patience, self._on_quiet)
        relay.when_decided(self._on_decided)

    # --- what happens

    def _on_decided(self, failure: RivergateError | None) -> None:
        if failure is None:
            self._begin()
        elif not self.head_bytes:
            gone = self._reader is not None and self._reader.ending is not None  # which is why there is a failure
            self._end(ConnectionResetError("the client is gone") if gone else failure)

    def _on_quiet(self) -> None:
        """The content is long in coming: the client gets the head, and a comment, so that it does not give up."""
        self._begin()
        if self._reader is not None:
            self._reader.keep_alive()

    def _on_gone(self) -> None:
        """The client has hung up: its socket is let go of, however long its stream still has others to wait for."""
        if self._reader is not None:
            self._reader.on_hang_up()

    def _on_reader_end(self, reader: Subscriber, leave: Callable[[], None] | None) -> None:
        if leave is not None:
            leave()
        whole = reader.ending is Ending.COMPLETED
        self._end(None if whole else ConnectionResetError("the reader is gone"))

    # --- inside

    def _begin(self) -> None:
        """The head, and what there is: in the very call that brought the first content, or before it."""
        reader = self._reader
        if self.head_bytes or self._over or reader is None:
            return
        self._stop_timer()
        relay, sink, client = self._relay, self._sink, self._client
        relay.announce()
        if sink is None or client.transport is None or client.transport.is_closing():
            reader.end()
            return
        head = self._events.head(relay.headers())
        self.head_bytes = len(head)
        sink.begin_with(head)
        client.feed_sink(sink, reader.on_writable)
        reader.attach(sink)

    def _end(self, outcome: Exception | None) -> None:
        if self._over:
            return
        self._over = True
        self._stop_timer()
        self._client.unwatch()
        if self._reader is not None:
            self._reader.end()
            # Nothing is left that knows one that knows it: all of it goes now, and not with the garbage collector.
            self._reader.when_ended(None)
        if self._sink is not None:
            self._sink.close()
        on_end, self._on_end = self._on_end, _nothing
        on_end(outcome)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _nothing(outcome: Exception | None) -> None:
    """It is over."""
