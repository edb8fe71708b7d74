"""Shell: the metrics for Prometheus: histograms that each completion adds to, and gauges that each scrape reads.

Nothing here is touched per token. Label values are names of the configuration, or words of a closed set.
Source of names and buckets: OpenTelemetry semantic conventions for generative AI, metrics.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.endings import Ending

TTFT_BUCKETS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
PER_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
DURATION_BUCKETS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKEN_BUCKETS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LABELS = ("gen_ai_request_model", "gen_ai_provider_name")
_OPERATION = "gen_ai_operation_name"
_Family = TypeVar("_Family", Counter, Histogram)


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


class Metrics:
    """The instruments of one gateway."""

    def __init__(self, read: Callable[[], Iterable[Reading]]) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self._ttft = self._histogram(
            "gen_ai_server_time_to_first_token", "Seconds from a request to its first content.", TTFT_BUCKETS
        )
        self._per_token = self._histogram(
            "gen_ai_server_time_per_output_token", "Seconds per token after the first one.", PER_TOKEN_BUCKETS
        )
        self._duration = self._histogram(
            "gen_ai_server_request_duration",
            "Seconds from a request to the end of its answer.",
            DURATION_BUCKETS,
            "ending",
        )
        self._tokens = self._histogram(
            "gen_ai_client_token_usage",
            "Tokens of a completion's prompt (input) and answer (output).",
            TOKEN_BUCKETS,
            "gen_ai_token_type",
        )
        self._streams = Counter("rivergate_streams", "Completions that have ended.", ("ending",), registry=registry)
        self._aborts = Counter(
            "rivergate_aborts",
            "Completions whose upstream was closed early, by ending.",
            ("reason",),
            registry=registry,
        )
        self._misses = Counter(
            "rivergate_ttft_budget_misses", "Completions without a token in their TTFT budget.", registry=registry
        )
        self._hedges = Counter(
            "rivergate_hedges", "Second attempts, started while the first one ran.", registry=registry
        )
        self._hedge_cost = Counter(
            "rivergate_hedge_cost_usd", "Estimated US dollars for attempts that lost a race.", registry=registry
        )
        self._series: dict[tuple[object, tuple[str, ...]], Counter | Histogram] = {}
        registry.register(_AtScrape(read))

    def on_completion(self, done: EndedCompletion) -> None:
        labels = (done.model, done.upstream, done.operation)
        if done.ttft is not None:
            self._of(self._ttft, *labels).observe(done.ttft)
            tokens = done.completion_tokens or 0
            if tokens > 1:
                self._of(self._per_token, *labels).observe((done.duration - done.ttft) / (tokens - 1))
        self._of(self._duration, *labels, done.ending).observe(done.duration)
        for kind, count in (("input", done.prompt_tokens), ("output", done.completion_tokens)):
            if count is not None:
                self._of(self._tokens, *labels, kind).observe(count)
        self._of(self._streams, done.ending).inc()
        if done.aborted:
            self._of(self._aborts, done.ending).inc()
        if done.ending is Ending.TTFT_BUDGET_EXCEEDED:
            self._misses.inc()
        self._hedges.inc(done.hedges)
        self._hedge_cost.inc(done.hedge_cost_usd)

    def _of(self, family: _Family, *labels: str) -> _Family:
        """The family's series with these labels. `Family.labels` checks every label again, and takes a lock."""
        series = self._series.get((family, labels))
        if series is None:
            series = self._series[family, labels] = family.labels(*labels)
        return cast(_Family, series)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *more_labels: str) -> Histogram:
        labels = (*_LABELS, _OPERATION, *more_labels)
        return Histogram(name, text, labels, registry=self._registry, buckets=buckets)

    def exposition(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self._registry)


class _AtScrape(Collector):
    """The gauges and counts that are kept elsewhere, read at each scrape."""

    def __init__(self, read: Callable[[], Iterable[Reading]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        for reading in self._read():
            family = CounterMetricFamily if reading.counts else GaugeMetricFamily
            metric = family(reading.name, reading.help, labels=reading.labels)
            for labels, value in reading.values.items():
                metric.add_metric(labels, value)
            yield metric

    def describe(self) -> list[Metric]:
        return []  # which metrics there are is known only at a scrape
