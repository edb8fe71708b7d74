"""Pure: the last minutes and hours of the gateway in numbers, so that a page that opens can draw them at once.

In: measurements as they come, and now and then the end of an interval. Out: two rings of points, a fine one of ten
minutes and a coarse one of six hours. The invariant: memory depends on the number of upstreams only.
"""

import math
from array import array
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any

POINTS = 120  # of each ring: as many as a small picture can show apart
FINE_SECONDS = 5  # the interval of the fine ring, which so reaches back ten minutes
FINE_IN_COARSE = 36  # intervals of the fine ring in one of the coarse ring, which so reaches back six hours
MINUTE_INTERVALS = 60 // FINE_SECONDS
MAX_OF_MINUTE = 500  # times of one interval that are kept for the quantiles of the last minute: 1 ms to sort them all
MAX_MEASURED = 4000  # times to first token that are kept of an interval for its quantiles; further ones only count
_ALL = ""  # the name of the track of all upstreams together; no upstream is called so
_GAUGES = ("running", "tokens_per_second")
_MEASURED = ("ttft_p50_ms", "ttft_p95_ms", "answers", "failures")


class OpenInterval:
    """What an interval that is not over has seen of one upstream, or of all: times to first token, and failures."""

    __slots__ = ("answers", "failures", "ttfts")

    def __init__(self) -> None:
        self.ttfts = array("f")  # milliseconds
        self.answers = 0
        self.failures = 0

    def on_ttft(self, ttft_ms: float) -> None:
        self.answers += 1
        if len(self.ttfts) < MAX_MEASURED:
            self.ttfts.append(ttft_ms)

    def values(self) -> list[float]:
        """The values of `_MEASURED`; NaN: there was no answer."""
        return [*_quantiles(self.ttfts), self.answers, self.failures]


class PointColumns:
    """A number of values for each point of a ring; the newest point takes the place of the oldest."""

    __slots__ = ("_arrays",)

    def __init__(self, width: int) -> None:
        self._arrays = [array("f", [math.nan]) * POINTS for _ in range(width)]

    def put(self, number: int, values: Sequence[float]) -> None:
        """Set the values of this point; NaN: it has none."""
        for column, value in zip(self._arrays, values, strict=True):
            column[number % POINTS] = value

    def read(self, first: int, end: int) -> list[list[float | None]]:
        """The values from point `first` until before point `end`, column by column; None: a point has none."""
        places = [number % POINTS for number in range(first, end)]
        return [[_rounded(column[place]) for place in places] for column in self._arrays]


class UpstreamTrack:
    """The points of one upstream, or of all together, and its open interval."""

    __slots__ = ("columns", "open")

    def __init__(self) -> None:
        self.open = OpenInterval()
        self.columns = PointColumns(len(_MEASURED))

    def close(self, number: int) -> None:
        """Make the open interval the point of this number, and begin the next one."""
        self.columns.put(number, self.open.values())
        self.open = OpenInterval()


class PointRing:
    """The points of one resolution. `seconds`: the length of an interval."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        self.until = 0.0  # the end of the newest point, in Unix seconds
        self._made = 0
        self._gauges = PointColumns(len(_GAUGES))
        self._tracks: dict[str, UpstreamTrack] = {_ALL: UpstreamTrack()}

    def open(self, upstream: str = _ALL) -> OpenInterval:
        """The open interval of an upstream, or of all."""
        track = self._tracks.get(upstream)
        if track is None:
            track = self._tracks[upstream] = UpstreamTrack()
        return track.open

    def close(self, until: float, gauges: Sequence[float]) -> None:
        """End the interval. `gauges`: the values of `_GAUGES`."""
        self.until = until
        self._gauges.put(self._made, gauges)
        for track in self._tracks.values():
            track.close(self._made)
        self._made += 1

    def skip(self, until: float) -> None:
        """Leave an interval out, in which the process stood still."""
        self.until = until
        nothing = [math.nan] * len(_MEASURED)
        self._gauges.put(self._made, [math.nan] * len(_GAUGES))
        for track in self._tracks.values():
            track.columns.put(self._made, nothing)
        self._made += 1

    def keep(self, upstreams: Collection[str]) -> None:
        """Forget the upstreams that are not among these."""
        for name in self._tracks.keys() - {_ALL, *upstreams}:
            del self._tracks[name]

    def as_json(self, most: int = POINTS) -> dict[str, Any]:
        """The newest points, at most this many, as one list for each value, the oldest first."""
        span = max(0, self._made - min(most, POINTS)), self._made
        tracks = {name: _named(_MEASURED, track.columns.read(*span)) for name, track in self._tracks.items()}
        gauges = _named(_GAUGES, self._gauges.read(*span))
        everything = tracks.pop(_ALL)
        return {
            "seconds": self.seconds,
            "until": round(self.until, 3),
            **gauges,
            **everything,
            "upstreams": tracks,
        }


class Timeline:
    """Both rings."""

    def __init__(self) -> None:
        self._minute: deque[array[float]] = deque(maxlen=MINUTE_INTERVALS)
        self.fine = PointRing(FINE_SECONDS)
        self.coarse = PointRing(FINE_SECONDS * FINE_IN_COARSE)
        self._fine_points = 0
        self._sums = [0.0] * len(_GAUGES)  # of the fine points since the last coarse one
        self._summed = 0

    def on_ttft(self, ttft_ms: float, upstream: str = _ALL) -> None:
        """Take a time to first token: of an upstream's own attempt, or of a whole request."""
        for ring in (self.fine, self.coarse):
            ring.open(upstream).on_ttft(ttft_ms)

    def on_failures(self, count: int, upstream: str = _ALL) -> None:
        """Take failed attempts of an upstream, or failed requests."""
        for ring in (self.fine, self.coarse):
            ring.open(upstream).failures += count

    def close(self, until: float, running: float, tokens_per_second: float, skipped: int = 0) -> None:
        """End an interval of the fine ring. `skipped`: how many intervals before it the process stood still."""
        for _ in range(min(skipped, POINTS * FINE_IN_COARSE)):
            self.fine.skip(until)
            self._count(until)
        gauges = running, tokens_per_second
        self._minute.append(self.fine.open().ttfts[:MAX_OF_MINUTE])
        self.fine.close(until, gauges)
        self._sums = [before + now for before, now in zip(self._sums, gauges, strict=True)]
        self._summed += 1
        self._count(until)

    def keep(self, upstreams: Collection[str]) -> None:
        """Forget the upstreams that are not among these."""
        self.fine.keep(upstreams)
        self.coarse.keep(upstreams)

    def last_minute(self) -> dict[str, float | None]:
        """The quantiles of the times to first token of the last minute; None: there was no answer."""
        middle, tail = _quantiles(list(chain.from_iterable(self._minute)))
        return {"p50_ms": _rounded(middle), "p95_ms": _rounded(tail)}

    def as_json(self) -> dict[str, Any]:
        return {"fine": self.fine.as_json(), "coarse": self.coarse.as_json()}

    def _count(self, until: float) -> None:
        """Count a fine point; the last one of a coarse interval ends it, with the means of the gauges."""
        self._fine_points += 1
        if self._fine_points % FINE_IN_COARSE:
            return
        if self._summed:
            self.coarse.close(until, [total / self._summed for total in self._sums])
        else:
            self.coarse.skip(until)
        self._sums, self._summed = [0.0] * len(_GAUGES), 0


def _quantiles(values: Collection[float]) -> tuple[float, float]:
    """The median, and the value below which 95 % lie; NaN: there are none."""
    if not values:
        return math.nan, math.nan
    ordered = sorted(values)
    return ordered[len(ordered) // 2], ordered[int(0.95 * len(ordered))]


def _named(names: Sequence[str], columns: Sequence[list[float | None]]) -> Mapping[str, list[float | None]]:
    return dict(zip(names, columns, strict=True))


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 1)
