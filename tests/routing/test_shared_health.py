"""The health of a model that shares a quota, or the statistics of a wildcard, with other models of its upstream."""

from collections.abc import Callable

import pytest

from gateway.errors import RateLimited, UpstreamError
from gateway.routing.health import Breaker, BreakerRules, Health
from gateway.routing.quota import Quota
from gateway.routing.shared_health import SharedHealth

RULES = BreakerRules(failures=2, seconds=10.0)


def test_a_full_quota_keeps_every_model_of_the_upstream_waiting() -> None:
    quota = Quota(max_concurrency=1)
    first, second = SharedHealth(RULES, quota), SharedHealth(RULES, quota)
    first.on_start(0.0)
    assert (first.wait(0.0), second.wait(0.0)) == (1.0, 1.0)
    assert second.is_limited(0.0)
    first.on_complete(None, 1.0)
    assert second.wait(1.0) == 0.0
    assert not second.is_limited(1.0)


@pytest.mark.parametrize(
    "end",
    [
        lambda health: health.on_complete(10.0, 1.0),
        lambda health: health.on_failed(1, UpstreamError("no"), 1.0),
        lambda health: health.on_given_up(1, 0.5, 1.0),
    ],
)
def test_every_end_of_an_attempt_gives_its_place_back(end: Callable[[Health], None]) -> None:
    quota = Quota(max_concurrency=1)
    health = SharedHealth(RULES, quota)
    health.on_start(0.0)
    end(health)
    assert quota.wait(1.0) == 0.0
    assert health.in_flight == 0


def test_the_longer_wait_counts() -> None:
    health = SharedHealth(RULES, Quota(max_concurrency=1))
    health.on_start(0.0)
    health.on_failed(1, RateLimited("slowly", retry_after=30), 0.0)
    health.on_start(0.0)
    assert health.wait(0.0) == 30.0
    assert health.is_limited(0.0)


def test_an_open_breaker_is_no_limit_of_requests() -> None:
    health = SharedHealth(RULES, Quota(max_concurrency=1))
    for number in (1, 2):
        health.on_start(0.0)
        health.on_failed(number, UpstreamError("no"), 0.0)
    health.on_start(0.0)
    assert health.breaker is Breaker.OPEN
    assert not health.is_limited(0.0)


def test_the_wildcard_gathers_what_its_models_do_and_has_no_breaker() -> None:
    total = Health(BreakerRules(failures=0))
    good, bad = SharedHealth(RULES, total=total), SharedHealth(RULES, total=total)
    for number in (1, 2):
        bad.on_start(0.0)
        bad.on_failed(number, UpstreamError("no such model"), 0.0)
    good.on_start(0.0)
    assert total.in_flight == 1
    good.on_content(1, 0.25, 0.5)
    good.on_complete(40.0, 1.0)
    assert (bad.breaker, good.breaker, total.breaker) == (Breaker.OPEN, Breaker.CLOSED, Breaker.CLOSED)
    known = total.statistics(1.0)
    assert known.in_flight == 0
    assert known.ttft_p50 == pytest.approx(0.25, rel=0.1)
    assert known.error_rate == pytest.approx(2 / 3, rel=0.01)
