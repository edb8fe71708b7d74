"""Each configuration of the page about providers works, against the simulation of its provider."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import config
from gateway.simulate.likeness import LIKENESSES
from tests.cases.cases import cases
from tests.kit.completions import PROMPT, text
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import Answer, fetch
from tests.kit.provider_page import KEY, Documented, documented
from tests.kit.upstreams import Upstream, Upstreams

PARTS = documented()
MESSAGES = [{"role": "user", "content": PROMPT}]
QUIET: dict[str, Any] = {"ttft_ms": 5, "gap_ms": 1, "tokens": 8, "load_ms": 0, "comment_every_ms": 0}
EVERY_PART = pytest.mark.parametrize("served_part", PARTS, ids=lambda part: part.heading, indirect=True)


class ServedPart:
    """One configuration of the page in a gateway, with the simulation of its provider behind it."""

    def __init__(self, part: Documented, upstream: Upstream, gateway: LocalGateway) -> None:
        self.part = part
        self.upstream = upstream
        self.gateway = gateway

    def ask(self, **fields: Any) -> Answer:
        return fetch(self.gateway.port, {"model": self.part.model, "messages": MESSAGES, **fields})


@pytest.fixture(scope="module")
def all_served(upstreams: Upstreams, logs: Path) -> Iterator[dict[str, ServedPart]]:
    """The parts of the page that tests have asked for, by their simulation; they end with the file."""
    served: dict[str, ServedPart] = {}
    yield served
    for part in served.values():
        part.gateway.close()


@pytest.fixture
def served_part(
    request: pytest.FixtureRequest, all_served: dict[str, ServedPart], upstreams: Upstreams, logs: Path
) -> ServedPart:
    part: Documented = request.param
    if part.like not in all_served:
        upstream = upstreams.start(part.like, like=part.like, **QUIET)
        gateway = LocalGateway(logs, part.at(upstream.origin), part.variables)
        all_served[part.like] = ServedPart(part, upstream, gateway)
    found = all_served[part.like]
    found.upstream.follow(**QUIET)
    return found


def test_the_page_has_a_configuration_for_every_likeness() -> None:
    assert sorted(part.like for part in PARTS) == sorted(LIKENESSES)


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.heading)
def test_a_configuration_is_valid_as_it_stands_on_the_page(part: Documented, tmp_path: Path) -> None:
    file = tmp_path / "rivergate.toml"
    file.write_text(part.configuration)
    assert config.load(file, part.variables).upstreams


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.heading)
def test_the_models_of_a_configuration_are_listed_by_its_provider(part: Documented, tmp_path: Path) -> None:
    file = tmp_path / "rivergate.toml"
    file.write_text(part.configuration)
    loaded = config.load(file, part.variables).upstreams
    asked = {model.upstream_id for upstream in loaded for model in upstream.models}
    lists_them = LIKENESSES[part.like].lists_models and "YOUR-DEPLOYMENT" not in part.configuration
    assert asked <= set(LIKENESSES[part.like].models) or not lists_them


@EVERY_PART
def test_a_streamed_answer_comes_through_whole(served_part: ServedPart) -> None:
    answer = served_part.ask(stream=True)
    assert answer.status == 200, answer.body
    assert said(answer) == text(8)
    assert answer.events()[-1] == "[DONE]"


@EVERY_PART
def test_a_whole_answer_comes_through(served_part: ServedPart) -> None:
    answer = served_part.ask()
    assert answer.status == 200, answer.body
    message = json.loads(answer.body)["choices"][0]["message"]
    assert plain(message["content"]) == text(8)


@EVERY_PART
def test_the_usage_is_what_the_provider_counted(served_part: ServedPart) -> None:
    answer = served_part.ask(stream=True, stream_options={"include_usage": True})
    assert answer.status == 200, answer.body
    (usage,) = [event["usage"] for event in answer.events() if event != "[DONE]" and event.get("usage")]
    assert usage["completion_tokens"] >= 8
    assert usage["total_tokens"] >= usage["prompt_tokens"] + usage["completion_tokens"]


@EVERY_PART
def test_two_tool_calls_stay_apart(served_part: ServedPart) -> None:
    served_part.upstream.follow(**QUIET, tool_calls=2)
    calls: dict[int, str] = {}
    for event in served_part.ask(stream=True).events()[:-1]:
        for choice in event["choices"]:
            for call in choice["delta"].get("tool_calls", ()):
                calls[call["index"]] = calls.get(call["index"], "") + call["function"]["arguments"]
    assert [json.loads(calls[index])["limit"] for index in sorted(calls)] == [1, 2]
    assert sorted(calls) == [0, 1]


def listed(file: str, **kind: bool) -> pytest.MarkDecorator:
    """The cases of a file as parameters, each with the part of the page that it is about; `kind`: which of them."""
    parts = {part.like: part for part in PARTS}
    values = [
        pytest.param(parts[case["like"]], case, id=case["name"])
        for case in (parameter.values[0] for parameter in cases(file))
        if all(case.get(name, False) is wanted for name, wanted in kind.items())
    ]
    return pytest.mark.parametrize(("served_part", "case"), values, indirect=["served_part"])


@listed("provider_answers.toml")
def test_what_a_provider_adds_reaches_the_client_and_what_it_generates_is_billed(
    served_part: ServedPart, case: dict[str, Any]
) -> None:
    served_part.upstream.follow(**{**QUIET, **case.get("script", {})})
    answer, whole = served_part.ask(stream=True, **case.get("asks", {})), served_part.ask().body.decode()
    streamed = answer.body.decode()
    assert [text for text in case.get("streamed", ()) if text not in streamed] == []
    assert [text for text in case.get("whole", ()) if text not in whole] == []
    assert [text for text in case.get("absent", ()) if text in streamed + whole] == []
    record = served_part.gateway.ending(answer.headers["x-request-id"])
    assert record["completion_tokens"] == case.get("billed", record["completion_tokens"])
    assert record["usage_estimated"] is False


@listed("providers.toml", stream=False, wrong_key=False)
def test_a_failure_reaches_the_client_in_the_words_of_the_provider(
    served_part: ServedPart, case: dict[str, Any]
) -> None:
    served_part.upstream.follow(**{**QUIET, **case["script"]})
    answer = served_part.ask(stream=True)
    assert answer.status == case.get("status", answer.status) != 200
    assert case["words"] in answer.error()["message"]
    assert case.get("kept", "") in json.dumps(answer.error(), separators=(",", ":"))
    assert answer.headers.get("retry-after") == case.get("retry_after", answer.headers.get("retry-after"))


@listed("providers.toml", stream=True)
def test_a_failure_in_the_stream_is_told_in_the_words_of_the_provider(
    served_part: ServedPart, case: dict[str, Any]
) -> None:
    served_part.upstream.follow(**{**QUIET, **case["script"]})
    *_, event, done = served_part.ask(stream=True).events()
    assert done == "[DONE]"
    assert case["words"] in event["error"]["message"]


@listed("providers.toml", wrong_key=True)
def test_a_wrong_key_is_the_fault_of_the_gateway_and_is_never_told(
    served_part: ServedPart, case: dict[str, Any], logs: Path
) -> None:
    part = served_part.part
    wrong = dict.fromkeys(part.variables, f"wrong-{KEY}")
    gateway = LocalGateway(logs, part.at(served_part.upstream.origin), wrong)
    try:
        answer = fetch(gateway.port, {"model": part.model, "messages": MESSAGES})
    finally:
        gateway.close()
    assert answer.status == case["status"]
    assert KEY.encode() not in answer.body


def test_the_other_key_of_groq_answers_when_one_is_wrong(upstreams: Upstreams, logs: Path) -> None:
    part = next(part for part in PARTS if part.like == "groq")
    first, second = part.variables
    upstream = upstreams.start("groq-of-two", like="groq", **QUIET)
    gateway = LocalGateway(logs, part.at(upstream.origin), {first: "wrong", second: KEY})
    try:
        answer = fetch(gateway.port, {"model": part.model, "stream": True, "messages": MESSAGES})
        assert answer.headers["x-upstream"] == "groq-2"
        assert said(answer) == text(8)
    finally:
        gateway.close()


def test_comments_and_a_slow_load_do_not_disturb_an_answer(upstreams: Upstreams, logs: Path) -> None:
    for like, patience in (
        ("deepseek", "comment_every_ms"),
        ("openrouter", "comment_every_ms"),
        ("ollama", "load_ms"),
    ):
        part = next(part for part in PARTS if part.like == like)
        upstream = upstreams.start(f"patient-{like}", like=like, **{**QUIET, "ttft_ms": 100, patience: 30})
        gateway = LocalGateway(logs, part.at(upstream.origin), part.variables)
        try:
            assert said(fetch(gateway.port, {"model": part.model, "stream": True, "messages": MESSAGES})) == text(8)
        finally:
            gateway.close()


def said(answer: Answer) -> str:
    """The text of a stream, whether its content is text or parts."""
    events = [event for event in answer.events() if event != "[DONE]" and event["choices"]]
    return "".join(plain(event["choices"][0]["delta"].get("content")) for event in events)


def plain(content: Any) -> str:
    """The text of content: text, parts of which some are text, or nothing."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""
