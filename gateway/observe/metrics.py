"""Shell: the metrics for Prometheus: numbers that each completion adds to, and gauges that each scrape reads.

Nothing here is touched per token. Label values are names of the configuration, or words of a closed set.
Source of names and buckets: OpenTelemetry semantic conventions for generative AI, metrics.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeVar

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from gateway.endings import Ending

TTFT_BUCKETS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
PER_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
DURATION_BUCKETS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKEN_BUCKETS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
MAX_UNCOUNTED = 256  # values of one series that wait to be counted, which takes 20 us
SERIES_OF_PART = 16  # of one histogram, which are written in one step: 300 lines, which take 3 ms
VALUES_OF_PART = 300  # of one gauge or counter
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_Item = TypeVar("_Item")
_LABELS = ("gen_ai_request_model", "gen_ai_provider_name", "gen_ai_operation_name")


class EndedCompletion(NamedTuple):
    """One completion that has ended. Times in seconds; None: not known. `upstream` is "" if none answered."""

    operation: str
    model: str
    upstream: str
    ending: Ending
    aborted: bool  # the gateway closed the upstream before its end
    ttft: float | None
    duration: float
    prompt_tokens: int | None
    completion_tokens: int | None
    hedges: int
    hedge_cost_usd: float


@dataclass(frozen=True, slots=True)
class Reading:
    """The values of one metric at a scrape, by the values of its labels. `counts`: a counter, which only grows."""

    name: str
    help: str
    values: dict[tuple[str, ...], float]
    labels: tuple[str, ...] = ()
    counts: bool = False


class Distribution:
    """One series of a histogram: how many values lie at or below each bound, and their sum.

    Values are collected, and many are counted at once, by a sort: that takes a tenth of a search for each.
    """

    __slots__ = ("_bounds", "_counts", "_new", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._new: list[float] = []  # not counted yet

    def add(self, value: float) -> None:
        new = self._new
        new.append(value)
        if len(new) >= MAX_UNCOUNTED:
            self._count()

    @property
    def counts(self) -> list[int]:
        """How many values lie at or below each bound but above the one before it, and above the last bound."""
        self._count()
        return list(self._counts)

    @property
    def total(self) -> int:
        """How many values there are."""
        return sum(self._counts) + len(self._new)

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Add the series to its family, with these values of its labels; one without a value has no samples."""
        count, buckets = 0, []
        for bound, more in zip((*self._bounds, float("inf")), self.counts, strict=True):
            count += more
            buckets.append((floatToGoString(bound), float(count)))  # type: ignore[no-untyped-call]
        if count:
            family.add_metric(labels, buckets, self._sum)

    def _count(self) -> None:
        new, before = sorted(self._new), 0
        if not new:
            return
        for place, bound in enumerate(self._bounds):
            below = bisect_right(new, bound)
            self._counts[place] += below - before
            before = below
        self._counts[-1] += len(new) - before
        self._sum += sum(new)
        self._new.clear()


class _Series:
    """The distributions of the completions of one model at one upstream."""

    __slots__ = ("durations", "input_tokens", "output_tokens", "per_token", "ttft")

    def __init__(self) -> None:
        self.ttft = Distribution(TTFT_BUCKETS)
        self.per_token = Distribution(PER_TOKEN_BUCKETS)
        self.durations: dict[Ending, Distribution] = {}
        self.input_tokens = Distribution(TOKEN_BUCKETS)
        self.output_tokens = Distribution(TOKEN_BUCKETS)

    def add(self, done: EndedCompletion) -> None:
        """Take a completion."""
        ttft, tokens = done.ttft, done.completion_tokens
        if ttft is not None:
            self.ttft.add(ttft)
            if tokens is not None and tokens > 1:
                self.per_token.add((done.duration - ttft) / (tokens - 1))
        durations = self.durations.get(done.ending)
        if durations is None:
            durations = self.durations[done.ending] = Distribution(DURATION_BUCKETS)
        durations.add(done.duration)
        if done.prompt_tokens is not None:
            self.input_tokens.add(done.prompt_tokens)
        if tokens is not None:
            self.output_tokens.add(tokens)


class Metrics:
    """The metrics of one gateway: plain numbers, of which a scrape makes what Prometheus reads."""

    def __init__(self, read: Callable[[], Iterable[Reading]]) -> None:
        """Begin with no completion. `read` brings the gauges and counts that are kept elsewhere."""
        self._read = read
        self._series: dict[tuple[str, str, str], _Series] = {}
        self._aborts: dict[Ending, int] = {}
        self._hedges = 0
        self._hedge_cost_usd = 0.0

    def on_completion(self, done: EndedCompletion) -> None:
        """Count a completion that has ended."""
        key = (done.model, done.upstream, done.operation)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = _Series()
        series.add(done)
        if done.aborted:
            self._aborts[done.ending] = self._aborts.get(done.ending, 0) + 1
        if done.hedges or done.hedge_cost_usd:
            self._hedges += done.hedges
            self._hedge_cost_usd += done.hedge_cost_usd

    def exposition(self) -> Iterator[bytes]:
        """The text format of Prometheus, in parts that take some milliseconds each."""
        name = ""
        for metric in self._parts():
            text = generate_latest(_Single(metric))
            if metric.name == name:  # the second part of a family has no head
                text = text.split(b"\n", 2)[2]
            name = metric.name
            yield text

    def _parts(self) -> Iterator[Metric]:
        """All families as they stand at a scrape, a long one in several parts."""
        yield from self._distributions()
        yield from self._counters()
        for reading in self._read():
            family = CounterMetricFamily if reading.counts else GaugeMetricFamily
            for values in _some(list(reading.values.items()), VALUES_OF_PART):
                metric = family(reading.name, reading.help, labels=reading.labels)
                for labels, value in values:
                    metric.add_metric(labels, value)
                yield metric

    def _endings(self) -> dict[Ending, int]:
        """How many completions have ended so: each of them has a duration."""
        found: dict[Ending, int] = {}
        for series in self._series.values():
            for ending, durations in series.durations.items():
                found[ending] = found.get(ending, 0) + durations.total
        return found

    def _distributions(self) -> Iterator[Metric]:
        """How long completions have taken, and how many tokens they had."""
        all_series = list(self._series.items())
        yield from _histograms(
            ("gen_ai_server_time_to_first_token", "Seconds from a request to its first content."),
            (),
            [(labels, series.ttft) for labels, series in all_series],
        )
        yield from _histograms(
            ("gen_ai_server_time_per_output_token", "Seconds per token after the first one."),
            (),
            [(labels, series.per_token) for labels, series in all_series],
        )
        yield from _histograms(
            ("gen_ai_server_request_duration", "Seconds from a request to the end of its answer."),
            ("ending",),
            [((*labels, end), found) for labels, series in all_series for end, found in series.durations.items()],
        )
        tokens = [((*labels, "input"), series.input_tokens) for labels, series in all_series]
        tokens += [((*labels, "output"), series.output_tokens) for labels, series in all_series]
        yield from _histograms(
            ("gen_ai_client_token_usage", "Tokens of a completion's prompt (input) and answer (output)."),
            ("gen_ai_token_type",),
            tokens,
        )

    def _counters(self) -> Iterator[Metric]:
        """How completions have ended."""
        endings = self._endings()
        yield _counter("rivergate_streams", "Completions that have ended.", "ending", endings)
        yield _counter(
            "rivergate_aborts", "Completions whose upstream was closed early, by ending.", "reason", self._aborts
        )
        misses = endings.get(Ending.TTFT_BUDGET_EXCEEDED, 0)
        yield CounterMetricFamily(
            "rivergate_ttft_budget_misses", "Completions without a token in their TTFT budget.", value=misses
        )
        yield CounterMetricFamily(
            "rivergate_hedges", "Second attempts, started while the first one ran.", value=self._hedges
        )
        yield CounterMetricFamily(
            "rivergate_hedge_cost_usd",
            "Estimated US dollars for attempts that lost a race.",
            value=self._hedge_cost_usd,
        )


def _histograms(
    name_and_help: tuple[str, str],
    more_labels: tuple[str, ...],
    series: Sequence[tuple[tuple[str, ...], Distribution]],
) -> Iterator[Metric]:
    """The parts of one family, at least one. `series`: the values of the labels of each distribution."""
    for some in _some(series, SERIES_OF_PART):
        family = HistogramMetricFamily(*name_and_help, labels=(*_LABELS, *more_labels))
        for labels, distribution in some:
            distribution.add_to(family, labels)
        yield family


def _some(items: Sequence[_Item], size: int) -> Iterator[list[_Item]]:
    """The items, so many at a time; one empty list if there are none."""
    rest = iter(items)
    yield list(islice(rest, size))
    while found := list(islice(rest, size)):
        yield found


def _counter(name: str, text: str, label: str, counts: dict[Ending, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=(label,))
    for ending, count in counts.items():
        family.add_metric((ending,), count)
    return family


class _Single(Collector):
    """A collector that has one family."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric
