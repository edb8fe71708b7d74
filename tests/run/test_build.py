"""A new configuration: which running parts are kept, and which changes a reload cannot take over."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from pydantic import SecretStr

from gateway.config import Config
from gateway.run import build
from gateway.run.build import Upstreams

Build = Callable[..., Upstreams]


def settings(**changes: Any) -> Config:
    alpha = {"name": "alpha", "base_url": "http://127.0.0.1:9/v1", "models": [{"id": "m"}]}
    return Config.model_validate({"upstreams": [alpha], **changes})


def upstream(name: str, port: int, *models: str) -> dict[str, Any]:
    return {"name": name, "base_url": f"http://127.0.0.1:{port}/v1", "models": [{"id": model} for model in models]}


@pytest.fixture
async def upstreams() -> AsyncIterator[Build]:
    built: list[Upstreams] = []

    def build_upstreams(config: Config, before: Upstreams | None = None) -> Upstreams:
        built.append(build.build_upstreams(config, before))
        return built[-1]

    yield build_upstreams
    for parts in built:
        parts.close()


async def test_an_upstream_that_is_the_same_keeps_its_connections_and_its_health(upstreams: Build) -> None:
    before = upstreams(settings(upstreams=[upstream("alpha", 9, "m"), upstream("beta", 9, "m")]))
    now = upstreams(settings(upstreams=[upstream("alpha", 9, "m", "n"), upstream("beta", 10, "m")]), before)
    assert now.endpoints["alpha"] is before.endpoints["alpha"]  # only the models of alpha have changed
    assert now.endpoints["beta"] is not before.endpoints["beta"]
    health = {
        (candidate.endpoint.name, candidate.model.id): candidate.health for candidate in before.router.catalog.all()
    }
    kept = {
        (candidate.endpoint.name, candidate.model.id)
        for candidate in now.router.catalog.all()
        if health.get((candidate.endpoint.name, candidate.model.id)) is candidate.health
    }
    assert kept == {("alpha", "m")}
    assert now.pace is before.pace
    assert now.router.throttle is before.router.throttle


async def test_other_limits_of_the_breaker_begin_with_fresh_health(upstreams: Build) -> None:
    before = upstreams(settings())
    now = upstreams(settings(routing={"breaker_failures": 9}), before)
    [old], [new] = before.router.catalog.all(), now.router.catalog.all()
    assert new.endpoint is old.endpoint
    assert new.health is not old.health


@pytest.mark.parametrize(
    "change", [{"weight": 2.0}, {"rpm": 5}, {"max_concurrency": 5}, {"discover": "on"}, {"models": [{"id": "n"}]}]
)
async def test_what_only_routing_reads_keeps_the_connections(upstreams: Build, change: dict[str, Any]) -> None:
    before = upstreams(settings())
    now = upstreams(settings(upstreams=[{**upstream("alpha", 9, "m"), **change}]), before)
    assert now.endpoints["alpha"] is before.endpoints["alpha"]


@pytest.mark.parametrize(
    "change",
    [
        *({"headers": {"X-A": "b"}}, {"query": {"a": "b"}}, {"auth_header": "api-key"}, {"auth_scheme": "Key"}),
        *({"drop": ["a"]}, {"rename": {"a": "b"}}, {"defaults": {"a": 1}}, {"forward_headers": ["x-a"]}),
        *({"proxy": "http://p:1"}, {"secret_headers": {"X-A": SecretStr("b")}}),
    ],
)
async def test_what_changes_a_request_takes_effect_with_the_reload(upstreams: Build, change: dict[str, Any]) -> None:
    before = upstreams(settings())
    now = upstreams(settings(upstreams=[{**upstream("alpha", 9, "m"), **change}]), before)
    assert now.endpoints["alpha"] is not before.endpoints["alpha"]


async def test_other_limits_of_an_upstream_count_what_runs_there(upstreams: Build) -> None:
    limited = upstream("alpha", 9, "m")
    before = upstreams(settings(upstreams=[{**limited, "max_concurrency": 2}]))
    [old] = before.router.catalog.all()
    old.health.on_start(0.0)
    now = upstreams(settings(upstreams=[{**limited, "max_concurrency": 1, "weight": 3.0}]), before)
    [new] = now.router.catalog.all()
    assert new.health is old.health
    assert new.weight == 3.0
    assert new.health.wait(0.0) == 1.0
    [free] = upstreams(settings(upstreams=[limited]), now).router.catalog.all()
    assert free.health.wait(0.0) == 0.0


@pytest.mark.parametrize(
    ("changes", "sections"),
    [
        ({}, []),
        ({"routing": {"optimize": "cost"}, "ttft": {"budget_ms": 500}}, []),
        ({"server": {"cors_origins": ["https://a.example"], "drain_seconds": 1.0}}, []),
        ({"server": {"max_connections": 10}}, ["server"]),
        ({"stream": {"retain_seconds": 1.0}}, ["stream"]),
        ({"stream": {"commit_after_ms": 1}}, []),
        ({"storage": {"path": "elsewhere.db"}}, ["storage"]),
        ({"feeds": [{"name": "f", "url": "http://127.0.0.1:9/"}]}, ["feeds"]),
    ],
)
def test_what_a_reload_cannot_take_over_is_named_by_its_section(changes: dict[str, Any], sections: list[str]) -> None:
    assert build.needs_restart(settings(), settings(**changes)) == sections


def test_a_key_of_streams_that_feeds_keep_needs_a_restart_only_if_there_are_feeds() -> None:
    feeds = [{"name": "f", "url": "http://127.0.0.1:9/"}]
    changed = {"stream": {"keepalive_seconds": 5.0}}
    assert build.needs_restart(settings(), settings(**changed)) == []
    assert build.needs_restart(settings(feeds=feeds), settings(feeds=feeds, **changed)) == ["feeds"]
