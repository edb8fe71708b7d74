"""A slow upstream is waited for as long as it shows any sign of life: the cases stand in `patience.toml`."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import UpstreamSettings
from gateway.upstream.bodies import MAX_HELD_BYTES
from tests.kit.completions import body
from tests.kit.configuration import KEYS, ORDERED, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import Answer, fetch
from tests.kit.scripted_upstream import DONE, FINISH, ROLE, STREAM_HEAD, ScriptedUpstream, Step, event

from .cases import cases

pytestmark = pytest.mark.deep

ANSWER = b'"choices": [{"index": 0, "message": {"role": "assistant", "content": "word "}, "finish_reason": "stop"}]}'
NAMED = {
    "head": STREAM_HEAD,
    "role": ROLE,
    "word": event('{"content":"word "}'),
    "empty": event('{"content":""}'),
    "unknown": event('{"thinking_tokens":"hm"}'),
    "finish": FINISH,
    "done": DONE,
    "json-head": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n",
    "answer": b"{" + ANSWER,
    "answer without its brace": ANSWER,
}


def steps(case: dict[str, Any]) -> Iterator[Step]:
    """The steps of a case as a script has them."""
    repeat = case.get("repeat", {"times": 0, "steps": []})
    for step in [*case["steps"], *repeat["steps"] * repeat["times"], *case.get("then", ())]:
        yield step / 1000 if isinstance(step, int) else NAMED.get(step, step.encode())


class Bench:
    """A gateway with the limits of one case in front of an upstream that plays it."""

    def __init__(self, logs: Path, case: dict[str, Any]) -> None:
        self.upstream = ScriptedUpstream("slow", lambda _: steps(case))
        sections = f"[stream]\nidle_timeout_ms = {case.get('idle_ms', 60_000)}\n{ORDERED}"
        limits = "".join(f"{key} = {value}\n" for key, value in case.get("limits", {}).items())
        content = configuration([(self.upstream, ["m"])], sections).replace("api_key_env", f"{limits}api_key_env")
        self.gateway = LocalGateway(logs, content, KEYS)

    def __enter__(self) -> LocalGateway:
        return self.gateway

    def __exit__(self, *_: object) -> None:
        self.gateway.close()
        self.upstream.close()


def told(answer: Answer) -> dict[str, Any]:
    """The error of an answer, before or after its head."""
    if answer.status != 200:
        return answer.error()
    *_, event, done = answer.events()
    assert done == "[DONE]"
    error: dict[str, Any] = event["error"]
    return error


@pytest.mark.parametrize("case", cases("patience.toml"))
def test_an_upstream_is_waited_for_while_it_lives(logs: Path, case: dict[str, Any]) -> None:
    with Bench(logs, case) as gateway:
        began = time.monotonic()
        answer = fetch(gateway.port, body(model="m", stream=not case.get("whole", False)))
        assert (time.monotonic() - began) * 1000 < case.get("most_ms", 5000)
    if "error" in case:
        error = told(answer)
        assert error["code"] == case["error"]
        assert case["says"] in error["message"]
        return
    assert answer.status == 200
    if "whole" in case:
        assert json.loads(answer.body)["choices"][0]["message"]["content"] == "word "
        return
    sent = b"".join(step for step in steps(case) if isinstance(step, bytes))
    assert answer.text().count("word ") == sent.count(b"word ")
    assert answer.events()[-1] == "[DONE]"
    assert answer.events()[-2]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("limit", ["head_timeout_ms", "first_content_timeout_ms", "response_timeout_ms"])
def test_by_default_an_upstream_may_take_as_long_as_the_sdks_wait(limit: str) -> None:
    assert UpstreamSettings.model_fields[limit].default == 600_000


def test_a_budget_is_for_a_client_that_wants_its_first_token_sooner(logs: Path) -> None:
    case = {"steps": ["head"], "repeat": {"times": 50, "steps": [": keep-alive\n\n", 50]}}
    with Bench(logs, case) as gateway:
        answer = fetch(gateway.port, body(model="m", stream=True), X_Max_TTFT_Ms="300")
    assert (answer.status, answer.error()["code"]) == (504, "ttft_budget_exceeded")


def test_what_is_held_for_the_patient_is_bounded(logs: Path) -> None:
    thought = '{"thinking_tokens":"%s"}' % ("x" * 65_536)
    flood = event(thought).decode()
    case = {"steps": ["head", "role"], "repeat": {"times": MAX_HELD_BYTES // 65_536 + 1, "steps": [flood]}}
    with Bench(logs, case) as gateway:
        answer = fetch(gateway.port, body(model="m", stream=True))
    assert answer.status == 502
    assert f"the upstream sent {MAX_HELD_BYTES} bytes that nobody could be given" in answer.error()["message"]
