"""Cached prompts and sounds cost what the configuration says of them, in every dialect, streamed or whole."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigError
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import call
from tests.kit.raw_upstream import RawUpstream, json_answer

CASES: list[Mapping[str, Any]] = tomllib.loads((Path(__file__).parent / "special_prices.toml").read_text())["case"]
PRICES = """
cached_input_usd_per_mtok = 1
cache_write_usd_per_mtok = 12
audio_input_usd_per_mtok = 40
audio_output_usd_per_mtok = 80
"""
CHOICE = {"index": 0, "finish_reason": "stop"}
HI = [{"role": "user", "content": "hi"}]
PATHS = {"chat": "chat/completions", "responses": "responses", "messages": "messages", "completions": "completions"}
ASKED: dict[str, dict[str, Any]] = {
    "chat": {"messages": HI},
    "responses": {"input": "hi"},
    "messages": {"messages": HI, "max_tokens": 99},
    "completions": {"prompt": "hi"},
}
ANSWERS: dict[str, dict[str, Any]] = {
    "chat": {"object": "chat.completion", "choices": [{**CHOICE, "message": {"role": "assistant", "content": "a"}}]},
    "responses": {"object": "response", "status": "completed", "output": []},
    "messages": {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "a"}]},
    "completions": {"object": "text_completion", "choices": [{**CHOICE, "text": "a"}]},
}


def answer(request: bytes) -> bytes:
    """The answer of the case whose number stands in `user`."""
    asked = json.loads(request.partition(b"\r\n\r\n")[2])
    case = CASES[int(asked["user"])]
    told = {"id": "a", "model": "m", "created": 1, **ANSWERS[case["dialect"]], "usage": json.loads(case["usage"])}
    if not asked.get("stream"):
        return json_answer(200, json.dumps(told).encode())
    delta = {"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    spoken = {**delta, "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]}
    events = (
        spoken,
        {**delta, "choices": [{**CHOICE, "delta": {}}]},
        {**delta, "choices": [], "usage": told["usage"]},
    )
    content = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {len(content)}\r\n\r\n"
    return (head + content).encode()


def written(upstream: RawUpstream) -> str:
    text = configuration([(upstream, ["plain", "special"])], prices={"told": (10, 20)})
    return text.rstrip() + PRICES  # the last model is the special one


@pytest.fixture(scope="module")
def gateway(logs: Path) -> Iterator[LocalGateway]:
    upstream = RawUpstream(answer, "told")
    gateway = LocalGateway(logs, written(upstream), KEYS)
    yield gateway
    gateway.close()
    upstream.close()


def cost(gateway: LocalGateway, case: Mapping[str, Any], **more: Any) -> float:
    """What the answer costs, in millionths of a dollar."""
    asked = {"model": "special", "user": str(CASES.index(case)), **ASKED[case["dialect"]], **more}
    told = call(gateway, "POST", f"/v1/{PATHS[case['dialect']]}", asked)
    assert told.status == 200
    return round(float(gateway.ending(told.headers["x-request-id"])["cost_usd"]) * 1_000_000, 3)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_special_tokens_cost_their_own_price(gateway: LocalGateway, case: Mapping[str, Any]) -> None:
    assert cost(gateway, case) == case["cost"]
    if case["dialect"] == "chat":
        assert cost(gateway, case, stream=True) == case["cost"]


def test_without_such_prices_all_tokens_cost_the_same(gateway: LocalGateway) -> None:
    assert {cost(gateway, case, model="plain") for case in CASES} == {1200}


def test_a_free_model_has_no_such_prices(logs: Path) -> None:
    lines = (
        '[[upstreams]]\nname = "a"\nbase_url = "http://127.0.0.1:9/v1"\n[[upstreams.models]]\nid = "m"\nfree = true\n'
    )
    with pytest.raises(ConfigError, match="must not be true for a model with audio_input_usd_per_mtok"):
        LocalGateway(logs, lines + "audio_input_usd_per_mtok = 1\n")
