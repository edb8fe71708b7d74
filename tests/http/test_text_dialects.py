"""Text completions and embeddings through the whole gateway: what is relayed byte by byte, shared, and refused."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import ENDLESS, MODEL, PROMPT, QUICK, text
from tests.kit.configuration import KEYS, ORDERED, Served, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import Answer, RawClient, call
from tests.kit.keyring import Keyring
from tests.kit.raw_upstream import RawUpstream, json_answer
from tests.kit.upstreams import Upstream

COMPLETIONS, EMBEDDINGS = "/v1/completions", "/v1/embeddings"
LONGEST_TURN = 0.02  # seconds of processor time, as of every other long answer (tests/cases)
DONE = b"data: [DONE]\n\n"
ASKED = {"model": MODEL, "prompt": PROMPT}
VECTOR = base64.b64encode(bytes(range(256)) * 24).decode()


class Stage:
    """A gateway before an upstream that answers with these bytes, and one that is asked next."""

    def __init__(self, logs: Path, alpha: Upstream) -> None:
        self.content = b""
        self.raw = RawUpstream(lambda request: json_answer(200, self.content), "raw")
        served: Served = [(self.raw, [MODEL, "pair"]), (alpha, ["pair"])]
        self.gateway = LocalGateway(logs, configuration(served, ORDERED), KEYS)

    def post(self, path: str, **body: Any) -> Answer:
        return call(self.gateway, "POST", path, body)

    def close(self) -> None:
        self.gateway.close()
        self.raw.close()


@pytest.fixture(scope="module")
def stage(logs: Path, alpha: Upstream) -> Iterator[Stage]:
    stage = Stage(logs, alpha)
    try:
        yield stage
    finally:
        stage.close()


@pytest.fixture(scope="module")
def gateway(logs: Path, alpha: Upstream) -> Iterator[LocalGateway]:
    gateway = LocalGateway(logs, configuration([(alpha, [MODEL])]), KEYS)
    try:
        yield gateway
    finally:
        gateway.close()


def events(answer: Answer) -> str:
    """The text of a streamed completion, whose last event is the terminal one."""
    *found, last = answer.events()
    assert last == "[DONE]"
    return "".join(choice["text"] for event in found for choice in event["choices"])


def test_a_stream_is_relayed_and_ends_with_its_terminal_event(gateway: LocalGateway) -> None:
    answer = call(gateway, "POST", COMPLETIONS, {**ASKED, "stream": True, "simulate": QUICK})
    assert (answer.status, events(answer)) == (200, text(8))
    assert answer.headers["x-upstream"] == "alpha"


@pytest.mark.parametrize(
    "style",
    [
        {"line_end": "\r\n", "comments": 1, "bom": True},
        {"pretty": True},
        {"split": 1},
        {"gzip": True},
        {"usage": "null_everywhere", "error_null": True, "omit": ["id", "object", "created", "model", "index"]},
        {"done": False},
        {"finish": False},
        {"unicode_separators": True},
        {"body": "length"},
    ],
    ids=lambda style: "-".join(style),
)
def test_every_style_of_an_upstream_becomes_the_form_that_clients_need(
    gateway: LocalGateway, style: dict[str, Any]
) -> None:
    answer = call(gateway, "POST", COMPLETIONS, {**ASKED, "stream": True, "simulate": {**QUICK, **style}})
    found = events(answer)
    assert found.translate({0x2028: None, 0x2029: None, 0x85: None}) == text(8)
    first = answer.events()[0]
    assert {"id", "object", "created", "model", "choices"} == first.keys()
    assert first["object"] == "text_completion"


def test_requests_with_one_stream_key_share_a_stream(gateway: LocalGateway, alpha: Upstream) -> None:
    before = alpha.statistics()
    body = {**ASKED, "stream": True, "simulate": {**QUICK, "ttft_ms": 100}}
    with RawClient(gateway.port) as first, RawClient(gateway.port) as second:
        for client in (first, second):
            client.request("POST", COMPLETIONS, body, X_Stream_Key="shared-text")
        assert [events(client.answer()) for client in (first, second)] == [text(8)] * 2
    assert alpha.statistics().requests == before.requests + 1


def test_a_detached_stream_is_read_by_its_events(gateway: LocalGateway) -> None:
    begun = call(gateway, "POST", "/v1/streams?dialect=completions", {**ASKED, "simulate": QUICK})
    assert begun.status == 201
    path = f"/v1/streams/{json.loads(begun.body)['id']}"
    told = call(gateway, "GET", f"{path}/events").body.decode()
    texts = [json.loads(line[6:]) for line in told.splitlines() if line.startswith('data: {"id"')]
    assert "".join(event["choices"][0]["text"] for event in texts if event["choices"]) == text(8)


def test_an_upstream_that_answers_in_another_dialect_loses_to_the_next_one(stage: Stage) -> None:
    stage.content = b'{"object":"chat.completion","choices":[{"index":0,"message":{"content":"a"}}]}'
    completion = stage.post(COMPLETIONS, model="pair", prompt=PROMPT, simulate=QUICK)
    assert (completion.status, completion.headers["x-upstream"]) == (200, "alpha")
    vectors = stage.post(EMBEDDINGS, model="pair", input="a")
    assert (vectors.status, vectors.headers["x-upstream"]) == (200, "alpha")
    for alone in (stage.post(COMPLETIONS, **ASKED), stage.post(EMBEDDINGS, model=MODEL, input="a")):
        assert (alone.status, alone.error()["code"]) == (502, "upstream_error")


def test_events_in_the_place_of_a_whole_completion_are_joined_and_in_the_place_of_vectors_are_an_error(
    stage: Stage,
) -> None:
    for words in (["one", " two"], ["x" * 200_000, "y"]):
        choices = [{"index": 0, "text": word} for word in words]
        choices.append({"index": 0, "text": "", "finish_reason": "stop"})
        stage.content = (
            b"".join(b"data: %b\n\n" % json.dumps({"choices": [each]}).encode() for each in choices) + DONE
        )
        completion = stage.post(COMPLETIONS, **ASKED)
        (choice,) = json.loads(completion.body)["choices"]
        assert (choice["text"], choice["finish_reason"]) == ("".join(words), "stop")
    vectors = stage.post(EMBEDDINGS, model=MODEL, input="a")
    assert (vectors.status, vectors.error()["code"]) == (502, "upstream_error")
    assert "not streamed" in vectors.error()["message"]


@pytest.mark.parametrize(
    "vector", [f'"{VECTOR}"', json.dumps([0.123456789, -1e-05] * 1000)], ids=["base64", "numbers"]
)
def test_an_answer_of_tens_of_megabytes_is_relayed_byte_by_byte_and_holds_up_nobody(
    stage: Stage, vector: str
) -> None:
    element = f'{{ "object": "embedding", "index": 0, "embedding": {vector}}}'
    times = 20_000_000 // len(element)
    used = '"usage":{"prompt_tokens":9,"total_tokens":9}'
    stage.content = f'{{"object":"list","data":[{",".join([element] * times)}],"model":"m",{used}}}\n'.encode()
    answer, longest = stage.gateway.watch(
        lambda: stage.post(EMBEDDINGS, model=MODEL, input="a", encoding_format="base64"), LONGEST_TURN
    )
    assert answer.status == 200
    assert answer.body == stage.content
    assert answer.headers["content-length"] == str(len(stage.content))
    assert longest < LONGEST_TURN
    assert stage.gateway.ending(answer.headers["x-request-id"])["prompt_tokens"] == 9


@pytest.mark.parametrize("given", [["word " * 20] * 20_000, list(range(300_000))], ids=["texts", "tokens"])
def test_a_long_input_goes_upstream_as_it_came_and_holds_up_nobody(stage: Stage, given: list[Any]) -> None:
    stage.content = b'{"object":"list","data":[],"model":"m"}'
    content = json.dumps({"input": given, "model": MODEL, "user": 7}).encode()
    answer, longest = stage.gateway.watch(lambda: call(stage.gateway, "POST", EMBEDDINGS, content), LONGEST_TURN)
    assert answer.status == 200
    sent = stage.raw.requests[-1].partition(b"\r\n\r\n")[2]
    assert sent == content.replace(b'"openai/gpt-4o"', b'"gpt-4o-2024"')
    assert longest < LONGEST_TURN
    tokens = json.loads(answer.body)["usage"]["prompt_tokens"]
    assert tokens >= (300_000 if given[0] == 0 else 20_000 * 25)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (COMPLETIONS, {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}, "prompt"),
        (COMPLETIONS, {"model": MODEL, "input": "hi"}, "prompt"),
        (EMBEDDINGS, {"model": MODEL, "prompt": "hi"}, "input"),
        ("/v1/chat/completions", {"model": MODEL, "prompt": "hi"}, "messages"),
    ],
)
def test_a_body_of_another_dialect_is_refused_and_nothing_is_started(
    gateway: LocalGateway, alpha: Upstream, path: str, body: dict[str, Any], param: str
) -> None:
    before = alpha.statistics()
    answer = call(gateway, "POST", path, body)
    assert (answer.status, answer.error()["param"]) == (400, param)
    assert alpha.statistics().requests == before.requests


@pytest.mark.parametrize(("path", "content"), [(COMPLETIONS, {"prompt": "a"}), (EMBEDDINGS, {"input": "a"})])
def test_an_upstream_that_does_not_speak_the_dialect_is_not_asked(
    logs: Path, alpha: Upstream, path: str, content: dict[str, Any]
) -> None:
    gateway = LocalGateway(logs, configuration([(alpha, [MODEL])], dialects=["chat"]), KEYS)
    try:
        before = alpha.statistics()
        answer = call(gateway, "POST", path, {"model": MODEL, **content})
        assert 400 <= answer.status < 500
        assert path.rpartition("/")[2] in answer.error()["message"]
        assert alpha.statistics().requests == before.requests
    finally:
        gateway.close()


def test_embeddings_are_paid_by_the_tokens_of_the_input_and_no_others(
    logs: Path, tmp_path: Path, alpha: Upstream
) -> None:
    keyring = Keyring(tmp_path, [(alpha, [MODEL])])
    with keyring.serving(logs) as gateway:
        key = keyring.create(balance_usd="0.001")  # 400 tokens
        asked = {"model": MODEL, "input": "word " * 40}
        answer = call(gateway, "POST", EMBEDDINGS, asked, Authorization=key.bearer)
        refused = call(
            gateway, "POST", EMBEDDINGS, {"model": MODEL, "input": "word " * 800}, Authorization=key.bearer
        )
        (record,) = keyring.records(key, 1)
    assert (answer.status, refused.status) == (200, 402)
    tokens = json.loads(answer.body)["usage"]["prompt_tokens"]
    assert (record["prompt_tokens"], record["completion_tokens"]) == (tokens, 0)
    assert record["cost"] == -(-tokens * 5 // 2)
    assert keyring.balance(key) == 1000 - record["cost"]


def test_a_completion_that_uses_up_the_balance_is_cut(logs: Path, tmp_path: Path, alpha: Upstream) -> None:
    keyring = Keyring(tmp_path, [(alpha, [MODEL])])
    with keyring.serving(logs) as gateway:
        key = keyring.create(balance_usd="0.000400")
        before = alpha.statistics()
        body = {**ASKED, "stream": True, "simulate": ENDLESS}
        answer = call(gateway, "POST", COMPLETIONS, body, Authorization=key.bearer)
        alpha.wait_for_abort(before)
        (record,) = keyring.records(key, 1)
    *_, error, last = answer.events()
    assert (error["error"]["code"], last) == ("budget_exhausted", "[DONE]")
    assert 400 <= record["cost"] <= 430
