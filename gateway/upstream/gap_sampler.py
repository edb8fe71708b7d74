"""Shell: samples of the time between two reads of tokens.

In: requests for a sample, with the connection and the body of a stream. Out: quantiles. A look at the clock for every
token would add a tenth to its cost, so between two samples the reads go directly to the body.
"""

from gateway import clock
from gateway.observe.quantiles import Quantiles
from gateway.upstream.bodies import StreamBody
from gateway.upstream.connection import UpstreamConnection

SHORTEST_GAP = 0.0001  # seconds; the lower end of the quantiles
LONGEST_GAP = 600.0  # seconds; the upper end


class GapSampler:
    """The samples of one attempt. While a sample is taken, two reads pass through here on their way to the body."""

    __slots__ = ("_began", "_body", "_connection", "gaps")

    def __init__(self, body: StreamBody) -> None:
        self._body = body
        self._connection: UpstreamConnection | None = None  # the connection whose reads are being sampled
        self._began: float | None = None  # when the first of the sample's two reads came
        self.gaps: Quantiles | None = None  # seconds; None before the first sample

    def sample(self, connection: UpstreamConnection) -> None:
        """Measure the time between the next two reads, unless a sample is being taken."""
        if self._began is None:
            self._connection = connection
            connection.deliver_to(self._feed, self._take)

    def drop(self) -> None:
        """Give up the sample that is being taken: the gap is not the upstream's."""
        self._began = None

    def _feed(self, data: bytes) -> None:
        self._on_read()
        self._body.feed(data)

    def _take(self, chunk: bytes) -> bool:
        taken = self._body.feed_chunk(chunk)
        if taken:
            self._on_read()
        return taken

    def _on_read(self) -> None:
        now = clock.monotonic()
        if self._began is None:
            self._began = now
            return
        self.gaps = self.gaps or Quantiles(SHORTEST_GAP, LONGEST_GAP)
        self.gaps.add(now - self._began, 0.0)
        self._began = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.deliver_to(self._body.feed, self._body.feed_chunk)
