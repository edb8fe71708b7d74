"""Shell: samples of the time between two reads of tokens.

In: requests for a sample, with the connection and the body of a stream. Out: quantiles. A look at the clock for every
token would add a tenth to its cost, so between two samples the reads go directly to the body.
"""

from gateway import clock
from gateway.upstream.bodies import Steps, StreamBody
from gateway.upstream.connection import UpstreamConnection

MAX_KEPT_SAMPLES = 256  # the newest samples of a stream; with one a second they cover its last four minutes


class GapSamples:
    """The newest samples of one stream, in seconds. Most streams have a few, which need no histogram."""

    __slots__ = ("_seconds", "count")

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self.count = 0  # the samples that there ever were

    def add(self, seconds: float) -> None:
        if self.count < MAX_KEPT_SAMPLES:
            self._seconds.append(seconds)
        else:
            self._seconds[self.count % MAX_KEPT_SAMPLES] = seconds
        self.count += 1

    def quantile(self, share: float) -> float:
        """The sample below or at which this share of the kept samples lies. Raises `IndexError` without samples."""
        return sorted(self._seconds)[round(share * (len(self._seconds) - 1))]


class GapSampler:
    """The samples of one attempt. While a sample is taken, two reads pass through here on their way to the body."""

    __slots__ = ("_began", "_body", "_connection", "gaps")

    def __init__(self, body: StreamBody) -> None:
        self._body = body
        self._connection: UpstreamConnection | None = None  # the connection whose reads are being sampled
        self._began: float | None = None  # when the first of the sample's two reads came
        self.gaps = GapSamples()

    def sample(self, connection: UpstreamConnection) -> None:
        """Measure the time between the next two reads, unless a sample is being taken."""
        if self._began is None:
            self._connection = connection
            connection.deliver_to(self._feed, self._take)

    def drop(self) -> None:
        """Give up the sample that is being taken: the gap is not the upstream's."""
        self._began = None

    def _feed(self, data: bytes) -> Steps:
        self._on_read()
        return self._body.feed(data)

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
        self.gaps.add(now - self._began)
        self._began = None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.deliver_to(self._body.feed, self._body.feed_chunk)
