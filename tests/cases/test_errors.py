"""What an upstream says of an error reaches the client, and says whose fault it is: the cases stand in `errors.toml`.

Each case is played through the whole gateway, streamed and whole, by scripted upstreams. The model `one` is served by
the upstream `first` alone; for the model `two` the upstream `second`, which answers well unless the case says
otherwise, stands in.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import UPSTREAM_KEY, body
from tests.kit.error_bench import SHOWN, ErrorBench, shown
from tests.kit.http_client import Answer, call, fetch
from tests.kit.scripted_upstream import GOOD_TEXT, ROLE, STREAM_HEAD, event, response

from .cases import cases

UNTOLD = {"{part}": UPSTREAM_KEY[:12], "{tail}": f" {UPSTREAM_KEY[-4:]}"}  # what must not be left of a part


@pytest.fixture(scope="module")
def bench(logs: Path) -> Iterator[ErrorBench]:
    bench = ErrorBench(logs)
    yield bench
    bench.close()


@pytest.fixture
def fresh(logs: Path) -> Iterator[ErrorBench]:
    """A gateway that has learned nothing of its upstreams yet."""
    bench = ErrorBench(logs)
    yield bench
    bench.close()


def found(error: Any, path: str) -> Any:
    """The member of an error under this path."""
    for step in path.split("."):
        error = error[int(step)] if step.isdigit() else error[step]
    return error


def assert_as_expected(case: dict[str, Any], answer: Answer, error: dict[str, Any]) -> None:
    expected = case["expect"]
    assert answer.status == expected["status"], error
    assert [words for words in expected.get("words", ()) if words not in error["message"]] == [], error["message"]
    if "message" in expected:
        assert error["message"] == expected["message"]
    assert len(error["message"]) < 1200
    for name in ("code", "param", "type"):
        if name in expected:
            assert error[name] == expected[name]
    for path, value in expected.get("has", {}).items():
        assert found(error, path) == value
    assert answer.headers.get("retry-after", "") == str(expected.get("retry_after", ""))
    assert answer.headers.get("x-should-retry", "") == expected.get("retry", "")


def assert_untold(case: dict[str, Any], answer: Answer, log: str, metrics: bytes) -> None:
    """No secret is told to the client, and no word of an upstream in logs and metrics."""
    sent = " ".join(str(case[name]) for name in ("first", "second") if name in case)
    told = json.dumps(json.loads(answer.body)["error"], ensure_ascii=False)
    for mark, secret in SHOWN.items():
        if mark in sent:
            assert UNTOLD.get(mark, secret) not in told
            assert secret not in log
    for word in ("Tell-tale", "telltale"):
        assert word not in log
        assert word.encode() not in metrics


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("case", cases("errors.toml"))
def test_an_error_of_an_upstream_is_told_as_it_was_meant(
    bench: ErrorBench, case: dict[str, Any], streamed: bool
) -> None:
    bench.play(case)
    before = len(bench.gateway.errors())
    answer = fetch(bench.gateway.port, body(model=case.get("model", "one"), stream=streamed))
    expected = case["expect"]
    if expected["status"] == 200:
        assert answer.status == 200
        told = answer.text() if streamed else json.loads(answer.body)["choices"][0]["message"]["content"]
        assert told == GOOD_TEXT
    else:
        assert_as_expected(case, answer, answer.error())
        metrics = call(bench.gateway, "GET", "/metrics").body
        assert_untold(case, answer, bench.gateway.errors()[before:], metrics)
    assert bench.counts() == expected.get("requests", [1, 0])


@pytest.mark.parametrize("case", cases("errors.toml"))
def test_an_attempt_says_its_status_and_a_reason_in_our_words(bench: ErrorBench, case: dict[str, Any]) -> None:
    bench.play(case)
    answer = fetch(bench.gateway.port, body(model=case.get("model", "one")))
    first = json.loads(answer.body)["routing_metadata"]["attempts"][0]
    assert (first["upstream"], first["status"]) == ("first", case["first"]["status"])
    assert first["reason"]
    assert "Tell-tale" not in first["reason"]
    assert first["outcome"] in {
        "upstream_error",
        "credential_refused",
        "no_credit",
        "not_served",
        "rate_limit_exceeded",
        "invalid_request",
    }


@pytest.mark.parametrize("case", cases("errors_in_streams.toml"))
def test_an_error_inside_of_a_stream_is_told_with_its_details(bench: ErrorBench, case: dict[str, Any]) -> None:
    begun = ROLE + event('{"content":"word"}') if case.get("begun") else b""
    sent = b"".join(f"data: {shown(json.dumps(said))}\n\n".encode() for said in case["events"])
    bench.first.play(lambda _: [STREAM_HEAD + begun + sent])
    answer = fetch(bench.gateway.port, body(model="one", stream=True))
    error = answer.events()[-2]["error"] if answer.status == 200 else answer.error()
    assert (answer.status == 200) is bool(begun)
    assert error["message"].endswith(case["words"])
    for path, value in case["has"].items():
        assert found(error, path) == value
    assert UPSTREAM_KEY not in json.dumps(error)
    assert "Tell-tale" not in bench.gateway.errors()


@pytest.mark.parametrize("model", ["one", "two"])
@pytest.mark.parametrize("way", ["event", "object", "whole"])
@pytest.mark.parametrize("case", cases("reported_failures.toml"))
def test_a_failure_that_a_good_status_hides_is_told_by_its_own(
    bench: ErrorBench, case: dict[str, Any], way: str, model: str
) -> None:
    report = shown(json.dumps(case["report"]))
    sent = {
        "event": STREAM_HEAD + f"data: {report}\n\n".encode(),
        "object": response(200, report.encode()),
        "whole": response(200, report.encode()),
    }
    bench.play({"first": {"status": 200, "json": {}}})
    bench.first.play(lambda _: [sent[way]])
    before = len(bench.gateway.errors())
    answer = fetch(bench.gateway.port, body(model=model, stream=way != "whole"))
    if model == "two":
        assert (answer.status, bench.counts()) == (200, [1, 1])
        return
    assert bench.counts() == [1, 0]
    sent_case = {"expect": case["expect"], "first": report}
    assert_as_expected(sent_case, answer, answer.error())
    assert_untold(sent_case, answer, bench.gateway.errors()[before:], call(bench.gateway, "GET", "/metrics").body)
    line = bench.gateway.wait_for_event("attempt failed", request_id=answer.headers["x-request-id"])
    assert line["status"] == 200


def test_the_attempts_of_a_stream_can_be_read_after_it(bench: ErrorBench) -> None:
    refusal = {"status": 401, "json": {"error": {"message": "Tell-tale"}}}
    bench.play({"first": refusal})
    answer = fetch(bench.gateway.port, body(model="two", stream=True))
    stream = json.loads(call(bench.gateway, "GET", f"/v1/streams/{answer.headers['x-stream-id']}").body)
    first, second = stream["attempts"]
    assert (first["outcome"], first["status"]) == ("credential_refused", 401)
    assert first["reason"] == "it refused the gateway's credential (HTTP 401)"
    assert (second["outcome"], second["status"], second["reason"]) == ("won", 200, None)


@pytest.mark.parametrize("case", cases("refused_fields.toml"))
def test_a_field_of_ours_that_is_refused_is_taken_back_and_remembered(
    fresh: ErrorBench, case: dict[str, Any]
) -> None:
    fresh.play({"first": {**case["first"], "refuses": "stream_options"}})
    usage = {"stream_options": {"include_usage": True}} if case.get("asks", False) else {}
    for number in (2, 3, 4):  # the first request is sent twice, the others once
        answer = fetch(fresh.gateway.port, body(model="one", stream=True, **usage))
        assert (answer.status, answer.text()) == (200, GOOD_TEXT)
        assert len(fresh.first.requests) == number
    assert b"stream_options" in fresh.first.requests[0]
    assert not any(b"stream_options" in request for request in fresh.first.requests[1:])
    assert fresh.counts()[1] == 0


@pytest.mark.parametrize("case", cases("kept_fields.toml"))
def test_a_refusal_of_anything_else_is_told_at_once(fresh: ErrorBench, case: dict[str, Any]) -> None:
    fresh.play(case)
    answer = fetch(fresh.gateway.port, body(model="one", stream=True))
    assert answer.status == case["first"]["status"]
    assert len(fresh.first.requests) == 1
