"""Pure: an offer: what is known of one upstream for one model when a request is about to be routed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Offer:
    """One upstream for one model. TTFT is in seconds, throughput in tokens a second; None: not known."""

    upstream: str
    model_id: str
    usd_per_mtok: float | None  # the mean of the prices of a million input and a million output tokens
    ttft_p50: float | None = None
    ttft_p95: float | None = None
    tps_p50: float | None = None
    tps_p95: float | None = None
    error_rate: float = 0.0
    weight: float = 1.0  # its share of the requests among equals

    def ttft(self, percentile: str) -> float | None:
        return self.ttft_p95 if percentile == "p95" else self.ttft_p50

    def tps(self, percentile: str) -> float | None:
        return self.tps_p95 if percentile == "p95" else self.tps_p50


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Which percentile of the TTFT and of the throughput a request compares: `p50` or `p95`."""

    ttft: str = "p50"
    throughput: str = "p50"
