"""Responses that clients go on from, or ask for again: who is asked, and what is refused and costs nothing."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.wire import sse
from tests.cases.cases import cases
from tests.dialects.responses.events import USAGE, completed, created, delta, event, payload, response
from tests.kit.completions import UPSTREAM_KEY
from tests.kit.error_bench import shown
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import Answer, RawClient, call
from tests.kit.keyring import Keyring, MadeKey
from tests.kit.scripted_upstream import STREAM_HEAD, Script, ScriptedUpstream, Step, is_streamed
from tests.kit.scripted_upstream import response as http_response

MODEL, PATH = "openai/gpt-4o", "/v1/responses"
LONGEST_TURN = 0.02  # seconds of processor time, as of every other long answer (tests/cases)


def answering(status: int, body: bytes) -> Script:
    """Every request is answered so."""
    return lambda _: [http_response(status, body)]


DOWN = answering(503, b'{"error":{"message":"down"}}')


def said(response_id: str, conversation: object = None, usage: object = USAGE) -> Script:
    """An answer under this id, streamed or whole as it is asked for, which tells its conversation."""
    more: dict[str, Any] = {"id": response_id, "conversation": conversation, "usage": usage}

    def script(request: bytes) -> list[Step]:
        if not is_streamed(request):
            return [http_response(200, orjson.dumps(response("completed", **more)))]
        return [STREAM_HEAD + created(**more) + delta(1, "word") + completed(2, **more)]

    return script


class Stage:
    """A gateway with keys before two upstreams, of which the first is asked first."""

    gateway: LocalGateway

    def __init__(self, folder: Path, sections: str = "") -> None:
        self.first, self.second = ScriptedUpstream("first"), ScriptedUpstream("second")
        self.keyring = Keyring(folder, [(self.first, [MODEL]), (self.second, [MODEL])], sections)
        self.key = self.keyring.create("one", balance_usd="1")
        self.other = self.keyring.create("other", balance_usd="1")
        self.rich = self.keyring.create("rich")

    def post(self, key: MadeKey | None = None, path: str = PATH, **fields: Any) -> Answer:
        body = {"model": MODEL, "input": "hello", **fields}
        return call(self.gateway, "POST", path, body, Authorization=(key or self.key).bearer)

    def get(self, path: str, key: MadeKey | None = None, method: str = "GET", **headers: str) -> Answer:
        return call(self.gateway, method, path, Authorization=(key or self.key).bearer, **headers)

    def ask(self, id: str, by: str, **fields: Any) -> None:
        """Have this upstream answer under an id."""
        self.first.play(said(id) if by == "first" else DOWN)
        self.second.play(said(id))
        told = self.post(stream=True, **fields)
        assert (told.status, told.headers["x-upstream"]) == (200, by)
        self.play(said(f"{id}_next"))

    def play(self, script: Script) -> None:
        self.first.play(script)
        self.second.play(script)

    @property
    def asked(self) -> tuple[int, int]:
        return len(self.first.requests), len(self.second.requests)

    @contextmanager
    def nothing_happens(self, key: MadeKey | None = None) -> Iterator[None]:
        """Meanwhile no upstream is asked, no stream begins, and the balance of the key stays as it is."""
        self.play(said("resp_of_nobody"))
        before = self._state(key)
        yield
        assert (self.asked, self._state(key)) == ((0, 0), before)

    def _state(self, key: MadeKey | None) -> tuple[float, list[str]]:
        streams = orjson.loads(self.get("/v1/streams", key).body)["data"]
        return orjson.loads(self.get("/v1/me", key).body)["balance_usd"], [each["id"] for each in streams]


def assert_refused(answer: Answer, status: int, param: str, code: str | None = None) -> None:
    """The answer is an error in OpenAI's envelope, whatever was asked for."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"].startswith("application/json")
    error = answer.error()
    assert error.keys() == {"message", "type", "code", "param"}
    kind = {400: "invalid_request_error", 404: "not_found_error", 502: "api_error"}[status]
    assert (error["param"], error["type"]) == (param, kind)
    assert error["code"] == (code or {400: "invalid_parameter_value", 404: "resource_not_found"}[status])


def numbers(told: Answer) -> list[int]:
    """The numbers of the events of a response."""
    return [payload(block)["sequence_number"] for block in sse.BlockDecoder().feed(told.body)]


@pytest.fixture(scope="module")
def stage(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("kept"))
    with stage.keyring.serving(logs) as stage.gateway:
        yield stage
    stage.first.close()
    stage.second.close()


@pytest.fixture(scope="module")
def forgetful(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A gateway that keeps no stream that has ended, and little of one that runs."""
    limits = "[stream]\nretain_seconds = 0\nmax_log_bytes = 4096\n"
    stage = Stage(tmp_path_factory.mktemp("forgetful"), limits)
    with stage.keyring.serving(logs) as stage.gateway:
        yield stage
    stage.first.close()
    stage.second.close()


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("named", ["conv_a", {"id": "conv_a"}])
def test_a_conversation_stays_at_its_upstream(stage: Stage, named: object, streamed: bool) -> None:
    stage.ask("resp_a", "second", conversation="conv_a")
    told = stage.post(stream=streamed, conversation=named)
    assert (told.status, told.headers["x-upstream"], stage.asked) == (200, "second", (0, 1))
    assert json.dumps(named).encode() in stage.second.requests[0]
    stage.second.play(DOWN)
    told = stage.post(stream=streamed, conversation=named)
    assert (told.status, stage.asked) == (502, (0, 1))


@pytest.mark.parametrize("streamed", [True, False])
def test_a_conversation_that_an_answer_names_is_remembered(stage: Stage, streamed: bool) -> None:
    name = f"conv_told_{streamed}"
    stage.first.play(DOWN)
    stage.second.play(said("resp_b", {"id": name}))
    assert stage.post(stream=streamed).headers["x-upstream"] == "second"
    stage.play(said("resp_c"))
    assert stage.post(conversation=name).headers["x-upstream"] == "second"


def test_a_conversation_that_did_not_come_up_before_goes_as_any_request(stage: Stage) -> None:
    stage.ask("resp_d", "second", conversation="conv_d")
    assert stage.post(stage.other, conversation="conv_d").headers["x-upstream"] == "first"
    stage.play(DOWN)
    assert stage.post(conversation="conv_failed").status == 502
    stage.ask("resp_e", "first")
    assert stage.post(conversation="conv_failed").headers["x-upstream"] == "first"
    assert stage.post(conversation="conv_d").headers["x-upstream"] == "second"
    with stage.nothing_happens():
        assert_refused(stage.get(f"{PATH}/conv_d"), 404, "id")


@pytest.mark.parametrize("streamed", [True, False])
def test_what_goes_on_from_somebody_elses_response_is_refused(stage: Stage, streamed: bool) -> None:
    stage.ask("resp_f", "first")
    with stage.nothing_happens(stage.other):
        told = stage.post(stage.other, previous_response_id="resp_f", stream=streamed)
        assert_refused(told, 404, "previous_response_id")
        for method, behind in (("GET", ""), ("GET", "?stream=true"), ("GET", "/input_items"), ("DELETE", "")):
            assert_refused(stage.get(f"{PATH}/resp_f{behind}", stage.other, method), 404, "id")
        assert_refused(stage.get(f"{PATH}/resp_f/cancel", stage.other, "POST"), 404, "id")
    assert stage.get(f"{PATH}/resp_f").status == 200


def test_what_an_upstream_refuses_of_an_answer_that_it_keeps_is_told_in_its_words(stage: Stage) -> None:
    stage.ask("resp_r", "first")
    error = {"message": "only a response in the background can be cancelled", "type": "invalid_request_error"}
    stage.play(answering(400, orjson.dumps({"error": error})))
    told = stage.get(f"{PATH}/resp_r/input_items")
    assert (told.status, told.error()["message"]) == (400, error["message"])


@pytest.mark.parametrize("field", ["previous_response_id", "conversation"])
def test_what_a_gone_upstream_has_kept_is_not_found(stage: Stage, field: str) -> None:
    stage.ask("resp_g", "second", conversation="conv_g")
    whole = stage.keyring.configuration
    named: dict[str, Any] = {field: {"previous_response_id": "resp_g", "conversation": "conv_g"}[field]}
    stage.gateway.reload(whole.replace('name = "second"', 'name = "third"'))
    try:
        with stage.nothing_happens():
            for streamed in (True, False):
                assert_refused(stage.post(stream=streamed, **named), 404, field)
    finally:
        stage.gateway.reload(whole)
    assert stage.post(**named).headers["x-upstream"] == "second"


LONG = {"input_tokens": 5000, "output_tokens": 100, "total_tokens": 5100}


@pytest.mark.parametrize("named", [{"previous_response_id": "resp_long"}, {"conversation": "conv_long"}], ids=list)
@pytest.mark.parametrize("begun", [True, False], ids=["after a stream", "after a whole answer"])
def test_what_the_upstream_reads_again_is_in_the_estimate(stage: Stage, named: dict[str, Any], begun: bool) -> None:
    """The upstream bills what came before as the prompt of what goes on from it, although it is not in the body."""
    poor = stage.keyring.create(balance_usd="0.02")
    for key in (poor, stage.rich):
        stage.first.play(said("resp_long", "conv_long", LONG))
        assert stage.post(key, stream=begun, conversation="conv_long").status == 200
    assert stage.post(poor, **named).status == 402  # 0.0065 USD are left
    for streamed in (True, False):
        stage.first.play(said(f"resp_next_{streamed}", usage=None))  # as after an abort, it tells no usage
        told = stage.post(stage.rich, stream=streamed, **named)
        assert told.status == 200
        record = stage.gateway.ending(told.headers["x-request-id"])
        assert 5100 < record["prompt_tokens"] < 5300
        assert record["usage_estimated"]


@pytest.mark.parametrize("after", ["3", "99999999999", "-1", "1.0", "x", "9" * 13, ""])
def test_events_behind_the_end_of_a_response_are_refused(stage: Stage, after: str) -> None:
    stage.ask("resp_h", "first")
    with stage.nothing_happens():
        told = stage.get(f"{PATH}/resp_h?stream=true&starting_after={after}")
        assert_refused(told, 400, "starting_after")


def test_events_are_told_from_any_number_on(stage: Stage) -> None:
    stage.ask("resp_i", "first")
    with stage.nothing_happens():
        for after in range(3):
            told = stage.get(f"{PATH}/resp_i?stream=true&starting_after={after}")
            assert numbers(told) == list(range(after + 1, 3))
        assert numbers(stage.get(f"{PATH}/resp_i?stream=true")) == [0, 1, 2]


def test_numbers_that_an_upstream_leaves_out_are_gone_over(stage: Stage) -> None:
    more: dict[str, Any] = {"id": "resp_gaps"}
    stage.play(lambda _: [STREAM_HEAD + created(**more) + delta(4, "a") + delta(9, "b") + completed(12, **more)])
    assert stage.post(stream=True).status == 200
    for after, left in ((0, [4, 9, 12]), (3, [4, 9, 12]), (4, [9, 12]), (8, [9, 12]), (9, [12]), (12, [])):
        assert numbers(stage.get(f"{PATH}/resp_gaps?stream=true&starting_after={after}")) == left
    assert_refused(stage.get(f"{PATH}/resp_gaps?stream=true&starting_after=13"), 400, "starting_after")


def test_a_position_of_another_life_of_the_stream_begins_again_and_asks_nobody(stage: Stage) -> None:
    stage.first.play(said("resp_j"))
    stream_id = stage.post(stream=True).headers["x-stream-id"]
    with stage.nothing_happens():
        told = stage.get(f"/v1/streams/{stream_id}/events", Last_Event_ID="another-1").body
    assert told.index(b"event: reset") < told.index(b"event: response.created")
    assert told.count(b"event: response.") == 3


@pytest.mark.parametrize("path", [PATH, "/v1/streams?dialect=responses"])
@pytest.mark.parametrize("stream", [{}, {"stream": False}, {"stream": None}])
def test_the_background_without_a_stream_is_refused(stage: Stage, path: str, stream: dict[str, Any]) -> None:
    with stage.nothing_happens():
        assert_refused(stage.post(path=path, background=True, **stream), 400, "background")


def test_a_response_whose_stream_is_gone_is_its_upstreams_to_tell(forgetful: Stage) -> None:
    forgetful.ask("resp_k", "second")
    kept = orjson.dumps(response("completed", id="resp_k"))
    forgetful.second.play(lambda _: [http_response(200, kept)])
    assert (forgetful.get(f"{PATH}/resp_k").body, forgetful.asked[0]) == (kept, 0)
    with forgetful.nothing_happens():
        for query in ("stream=true", "stream=true&starting_after=1"):
            assert_refused(forgetful.get(f"{PATH}/resp_k?{query}"), 404, "id")


@pytest.mark.parametrize(("method", "behind"), [("GET", ""), ("GET", "/input_items"), ("POST", "/cancel")])
@pytest.mark.parametrize("case", cases("kept_failures.toml"))
def test_the_words_of_an_upstream_for_a_kept_failure_are_redacted(
    forgetful: Stage, case: dict[str, Any], method: str, behind: str
) -> None:
    forgetful.ask("resp_m", "first")
    beside = {"instructions": "word " * 20_000} if case.get("long") else {}
    content = case["text"] if "text" in case else json.dumps({**case["sent"], **beside}).replace("{id}", "resp_m")
    forgetful.first.play(lambda _: [http_response(200, shown(content).encode())])
    told = forgetful.get(f"{PATH}/resp_m{behind}", method=method)
    body = orjson.loads(told.body)
    assert (told.status, body["error"]["code"]) == (case["status"], case.get("code", "upstream_error"))
    assert case["words"] in body["error"]["message"]
    assert UPSTREAM_KEY not in told.body.decode()
    if told.status == 200:
        assert (body["id"], body["status"]) == ("resp_m", "failed")
        assert {name: body[name] for name in beside} == beside


def test_an_answer_of_an_upstream_that_keeps_it_comes_as_it_was_sent(forgetful: Stage) -> None:
    forgetful.ask("resp_n", "first")
    kept = [
        b'{"id" : "resp_n", "object":"response","status":"completed","error":null,"odd":[1.50]}',
        b'{"object":"list","data":[{"error": "a word of the prompt"}],"detail":"of a list"}',
        b'{"id":"resp_n","object":"response","error":{},"instructions":"' + b"word " * 20_000 + b'"}',
    ]
    left = iter(kept)
    forgetful.first.play(lambda _: [http_response(200, next(left))])
    assert [forgetful.get(f"{PATH}/resp_n").body for _ in kept] == kept


def test_events_that_a_running_stream_has_forgotten_are_not_left_out_silently(forgetful: Stage) -> None:
    def script(_: bytes) -> Iterator[Step]:
        yield STREAM_HEAD + created(id="resp_l")
        for number in range(1, 100):
            yield delta(number, "A" * 200)
        yield 60.0

    forgetful.play(script)
    body = {"model": MODEL, "input": "hello", "stream": True}
    with RawClient(forgetful.gateway.port) as client:
        client.request("POST", PATH, body, Authorization=forgetful.key.bearer)
        assert client.head().status == 200
        while b'"sequence_number":99' not in client.chunk():
            pass
        for query in ("", "&starting_after=0", "&starting_after=5"):
            told = forgetful.get(f"{PATH}/resp_l?stream=true{query}")
            assert_refused(told, 404, "starting_after")


IMAGE = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "A" * 10_000_000}
PARTS = [{"type": "output_text", "text": "word " * 8, "annotations": [], "logprobs": []}] * 100_000
MESSAGE = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": PARTS}


@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize("item", [IMAGE, MESSAGE], ids=["image", "parts"])
def test_a_response_of_ten_megabytes_that_is_asked_for_again_holds_up_nobody(
    stage: Stage, item: dict[str, Any], runs: bool
) -> None:
    more: dict[str, Any] = {"id": f"resp_{item['id']}_{runs}", "output": [item]}
    sent = created(id=more["id"]) + event("response.output_item.done", 1, output_index=0, item=item)
    end: list[Step] = [60.0] if runs else [completed(2, **more)]
    stage.play(lambda _: [STREAM_HEAD + sent, *end])
    with RawClient(stage.gateway.port) as client:
        body = {"model": MODEL, "input": "hello", "stream": True}
        client.request("POST", PATH, body, Authorization=stage.rich.bearer)
        assert client.head().status == 200
        while b"msg_1" not in (chunk := client.chunk()) and b"ig_1" not in chunk:
            pass
        while not runs and client.chunk():
            pass
        told, longest = stage.gateway.watch(lambda: stage.get(f"{PATH}/{more['id']}", stage.rich), LONGEST_TURN)
    expected = response(**more) if runs else response("completed", usage=USAGE, **more)
    assert orjson.loads(told.body) == expected
    assert longest < LONGEST_TURN
