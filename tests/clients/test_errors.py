"""Errors as the official SDKs see them: through the gateway never worse than straight from the same upstream.

The cases are those of `tests/cases/errors.toml` that one upstream answers, and the errors inside of streams.
An SDK would sleep long after some: if the gateway says that no wait helps, they are asked for through it alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cases.cases import cases
from tests.kit.error_bench import ErrorBench
from tests.kit.told_errors import (
    ErrorCase,
    Pair,
    ToldError,
    answered,
    play_all,
    reported,
    told_by,
)

# Faults of the gateway's own credential: its client has no part in them, so that it gets another class.
OURS = ("it refused the gateway's", "has no credit")
SDKS = ["openai for Python", "openai", "openai-6", "auriko"]


def told_alone(case: dict[str, Any]) -> bool:
    """Whether one upstream answers the case, and no SDK sleeps for long after it."""
    return case.get("model", "one") == "one" and not waits(case) and not waits_too_long(case)


def waits(case: dict[str, Any]) -> bool:
    return bool(case.get("expect", {}).get("retry_after"))


def waits_too_long(case: dict[str, Any]) -> bool:
    """Whether the upstream asks for a wait that the gateway tells in words only."""
    return case.get("first", {}).get("fields", {}).get("Retry-After", "") in ("60.2", "3600")


CASES: list[ErrorCase] = [
    *(answered(case.values[0]) for case in cases("errors.toml") if told_alone(case.values[0])),
    *(reported(case.values[0]) for case in cases("errors_in_streams.toml")),
    *(reported(case.values[0]) for case in cases("reported_failures.toml") if not waits(case.values[0])),
]


LONG_WAITS = [
    answered(case.values[0])
    for case in cases("errors.toml")
    if waits_too_long(case.values[0]) and case.values[0].get("model", "one") == "one"
]


@pytest.fixture(scope="module")
def bench(logs: Path) -> Iterator[ErrorBench]:
    bench = ErrorBench(logs)
    yield bench
    bench.close()


def as_told(request: pytest.FixtureRequest, sdk: str, urls: tuple[str, str], cases: list[ErrorCase]) -> list[Pair]:
    """The cases as an SDK tells them, by each of the URLs."""
    play_all(request.getfixturevalue("bench"), cases)
    if sdk in ("openai", "openai-6"):
        pairs = request.getfixturevalue("node")("told_errors.mjs", sdk, str(len(cases)), *urls)
        return [(ToldError(**straight), ToldError(**through)) for straight, through in pairs]
    return told_by(sdk, urls, len(cases))


@pytest.fixture(scope="module", params=SDKS)
def told(request: pytest.FixtureRequest, bench: ErrorBench) -> tuple[str, list[Pair]]:
    """The name of an SDK, and all cases as it tells them."""
    return request.param, as_told(request, request.param, (bench.first.base_url, bench.gateway.url), CASES)


@pytest.mark.parametrize("sdk", SDKS)
def test_no_sdk_sleeps_for_a_wait_that_is_too_long(
    request: pytest.FixtureRequest, bench: ErrorBench, sdk: str
) -> None:
    for case, (told, _) in zip(
        LONG_WAITS, as_told(request, sdk, (bench.gateway.url, bench.gateway.url), LONG_WAITS), strict=True
    ):
        assert (told.requests, told.status) == (1, 502 if case.status >= 500 else case.status)
        assert "(retry after " in told.message


@pytest.mark.parametrize("place", range(len(CASES)), ids=[case.name for case in CASES])
def test_an_error_through_the_gateway_is_no_worse(told: tuple[str, list[Pair]], place: int) -> None:
    (sdk, pairs), case = told, CASES[place]
    straight, through = pairs[place]
    assert through.kind is not None  # an error is never a silent end
    assert through.text == straight.text or straight.kind == "ValidationError"
    is_ours = any(words in through.message for words in OURS)
    is_raw = '"telltale"' in straight.message  # some SDKs show the bytes of a body that they cannot read
    if "Tell-tale" in straight.message and "credential" not in through.message and not is_raw:
        assert "Tell-tale" in through.message
    if case.status != 200:
        check_status(sdk, straight, through, is_ours=is_ours)
    elif not case.begun:
        assert through.status is not None  # more than most SDKs are told straight
    if sdk == "auriko":
        assert through.code != "malformed_response"


def check_status(sdk: str, straight: ToldError, through: ToldError, *, is_ours: bool) -> None:
    """The class, the status, the code and the tries are those that the SDK has straight from the upstream."""
    if not is_ours and straight.status:  # without a status it failed to follow a redirect
        assert through.status == straight.status or (straight.status or 0) >= 500
        assert through.kind == straight.kind or sdk == "auriko"
    if sdk == "auriko":
        return  # it understands no other envelope than ours
    assert through.requests <= straight.requests
    code = straight.code
    if isinstance(code, str) and code.isidentifier() and not is_ours and "[redacted]" not in through.message:
        assert through.code == code or straight.status == 429
