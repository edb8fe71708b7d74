"""Why an attempt failed is in the log, in the metrics and on the pages: the cases stand in `attempts.toml`."""

import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import QUICK, body
from tests.kit.configuration import KEYS, Served, configuration
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.http_client import call, fetch
from tests.kit.raw_upstream import RawUpstream, json_answer
from tests.kit.sse_client import Subscriber
from tests.kit.upstreams import Upstream, Upstreams

CASES = tomllib.loads(Path(__file__).with_name("attempts.toml").read_text())["case"]
NAMES = [case["name"] for case in CASES]
LIMITS = "head_timeout_ms = 300\nfirst_content_timeout_ms = 500\nresponse_timeout_ms = 500\n"
SECTIONS = '[routing]\noptimize = "priority"\nbreaker_failures = 0\nmax_cooldown_seconds = 0\n'
SECRET = "secret"  # is in the words and codes of the upstreams, and nowhere else


@pytest.fixture(scope="module")
def providers() -> Iterator[Upstreams]:
    providers = Upstreams()
    yield providers
    providers.close()


@pytest.fixture(scope="module")
def weak(providers: Upstreams) -> Upstream:
    return providers.start("weak", **QUICK)


@pytest.fixture(scope="module")
def answers() -> list[bytes]:
    """The answer of the raw upstream, as the only entry."""
    return [b""]


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, providers: Upstreams, weak: Upstream, answers: list[bytes]
) -> Iterator[LocalGateway]:
    good, raw = providers.start("good", **QUICK), RawUpstream(lambda _: answers[0], "raw")
    folder = tmp_path_factory.mktemp("attempts")
    served: Served = [(weak, ["weak", "weak-pair"]), (raw, ["raw", "raw-pair"]), (good, ["weak-pair", "raw-pair"])]
    content = configuration(served, f'{SECTIONS}[storage]\npath = "{folder}/a.db"\n')
    gateway = LocalGateway(folder, content.replace("api_key_env", LIMITS + "api_key_env"), KEYS)
    yield gateway
    gateway.close()
    raw.close()


Play = Callable[[dict[str, Any]], str]


@pytest.fixture
def play(weak: Upstream, answers: list[bytes]) -> Iterator[Play]:
    """Makes an upstream fail as a case says; returns the upstream's name."""

    def play(case: dict[str, Any]) -> str:
        if "raw" in case:
            answers[0] = json_answer(case["raw_status"], case["raw"].encode())
            return "raw"
        weak.follow(**case["script"])
        return "weak"

    yield play
    weak.follow(**QUICK)


def counted(gateway: Gateway, upstream: str, outcome: str) -> float:
    """The attempts of an upstream that ended so, as `/metrics` has them."""
    wanted = f'rivergate_attempts_total{{outcome="{outcome}",upstream="{upstream}"}} '
    lines = call(gateway, "GET", "/metrics").body.decode().splitlines()
    return sum(float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted))


def last_errors(gateway: Gateway) -> list[dict[str, Any]]:
    """The rows of the last errors, as the pages get them."""
    with Subscriber(gateway.port, "/v1/feeds/statistics/events?from=now") as subscriber:
        [event] = subscriber.events(1)
    rows: list[dict[str, Any]] = json.loads(event.data or "{}")["errors"]
    return rows


def matches(found: dict[str, Any], case: dict[str, Any], upstream: str, model: str) -> bool:
    wanted = {"upstream": upstream, "model": model, "outcome": case["outcome"], "status": case.get("status") or None}
    return wanted.items() <= found.items() and case["reason"] in found["reason"]


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("covered", [True, False])
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_failed_attempt_is_told(
    gateway: Gateway, play: Play, case: dict[str, Any], covered: bool, streamed: bool
) -> None:
    if not streamed:
        if case.get("whole") == "none":
            return  # there is no such failure of a whole answer
        case = {**case, **case.get("whole", {})}
    upstream = play(case)
    model = f"{upstream}-pair" if covered else upstream
    before, won = counted(gateway, upstream, case["outcome"]), counted(gateway, "good", "won")
    answer = fetch(gateway.port, body(model=model, stream=streamed))
    falls_back = covered and not case.get("ends")
    assert (answer.status == 200) is falls_back
    line = gateway.wait_for_event("attempt failed", request_id=answer.headers["x-request-id"])
    assert matches(line, case, upstream, model)
    assert line["level"] == ("warning" if falls_back else case.get("alone", "error"))
    assert counted(gateway, upstream, case["outcome"]) == before + 1
    assert counted(gateway, "good", "won") == won + falls_back
    newest = last_errors(gateway)[0]
    assert matches(newest, case, upstream, model)
    assert newest["count"] >= 1
    assert newest["request_id"] == answer.headers["x-request-id"]
    assert SECRET not in gateway.errors() + json.dumps(last_errors(gateway))


def test_failures_of_one_kind_are_one_row(gateway: Gateway, play: Play) -> None:
    play({"script": {"status": 507}})
    for _ in range(3):
        fetch(gateway.port, body(model="weak"))
    rows = [row for row in last_errors(gateway) if row["status"] == 507]
    assert [(row["upstream"], row["model"], row["count"]) for row in rows] == [("weak", "weak", 3)]


def test_an_attempt_whose_time_is_up_is_told(gateway: Gateway, play: Play) -> None:
    """A budget for the first token ends the turn of a silent upstream before the upstream's own limits."""
    play({"script": {"ttft_ms": 60_000}})
    answer = fetch(gateway.port, body(model="weak-pair", stream=True), X_Max_TTFT_Ms="400")
    assert answer.status == 200
    line = gateway.wait_for_event("attempt failed", request_id=answer.headers["x-request-id"])
    assert (line["level"], line["reason"]) == ("warning", "no content in the time that it was given")
    alone = fetch(gateway.port, body(model="weak", stream=True), X_Max_TTFT_Ms="100")
    assert alone.status == 504
    line = gateway.wait_for_event("attempt failed", request_id=alone.headers["x-request-id"])
    assert line["level"] == "error"
    assert counted(gateway, "weak", "timed_out") >= 2


def test_an_answer_that_breaks_off_is_told(gateway: Gateway, play: Play) -> None:
    play({"script": {"ttft_ms": 5, "gap_ms": 0, "cut_after": 3}})
    answer = fetch(gateway.port, body(model="weak-pair", stream=True))
    line = gateway.wait_for_event("attempt failed", request_id=answer.headers["x-request-id"])
    assert (line["level"], line["upstream"]) == ("error", "weak")
