"""An upstream that answers in another dialect than it said, or whole in the place of a stream: it has failed.

Another upstream answers instead. If there is none, the client gets a 502 in the envelope of its own dialect, and pays
nothing.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.dialects.messages.events import ANSWER
from tests.dialects.responses.events import USAGE, answer, response
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import Answer, call
from tests.kit.keyring import Keyring
from tests.kit.scripted_upstream import GOOD, GOOD_WHOLE, STREAM_HEAD, ScriptedUpstream, is_streamed
from tests.kit.scripted_upstream import response as whole

LONG = 100_000  # bytes of text, so that an answer is read in steps
PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
}
TURN = {"role": "user", "content": "hello"}
ASKED: dict[str, dict[str, Any]] = {
    "chat": {"messages": [TURN]},
    "responses": {"input": "hello"},
    "messages": {"max_tokens": 9, "messages": [TURN]},
    "completions": {"prompt": "hello"},
    "embeddings": {"input": "hello"},
}


def message(text: str = "word") -> dict[str, Any]:
    usage = {"input_tokens": 2, "output_tokens": 1}
    content = [{"type": "text", "text": text}]
    begun = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content}
    return {**begun, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}


def told_response(text: str = "word") -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    return response("completed", output=[item], usage=USAGE)


TEXT_EVENT = {"id": "c", "object": "text_completion", "created": 1, "model": "m"}
TEXT_CHOICE = {"index": 0, "text": "word", "logprobs": None, "finish_reason": "stop"}
TEXT = orjson.dumps({**TEXT_EVENT, "choices": [TEXT_CHOICE]})
VECTOR = {"object": "embedding", "index": 0, "embedding": [0.5]}
STREAMS: dict[str, bytes] = {
    "chat": GOOD,
    "responses": STREAM_HEAD + b"".join(answer("word")),
    "messages": STREAM_HEAD + b"".join(ANSWER),
    "completions": STREAM_HEAD + b"data: " + TEXT + b"\n\ndata: [DONE]\n\n",
}
WHOLES: dict[str, bytes] = {
    "chat": GOOD_WHOLE,
    "responses": whole(200, orjson.dumps(told_response())),
    "messages": whole(200, orjson.dumps(message())),
    "completions": whole(200, TEXT),
    "embeddings": whole(200, orjson.dumps({"object": "list", "data": [VECTOR], "model": "m"})),
}


class Stage:
    """A gateway with keys; `first` alone serves the model `one`, and `second` the model `two` too."""

    gateway: LocalGateway

    def __init__(self, folder: Path) -> None:
        self.first, self.second = ScriptedUpstream("first"), ScriptedUpstream("second")
        self.keyring = Keyring(folder, [(self.first, ["one", "two"]), (self.second, ["two"])])
        self.key = self.keyring.create("one", balance_usd="1")

    def post(self, dialect: str, model: str, *, streamed: bool) -> Answer:
        body = {"model": model, "stream": streamed, **ASKED[dialect]}
        return call(self.gateway, "POST", PATHS[dialect], body, Authorization=self.key.bearer)

    def play(self, dialect: str, sent: bytes) -> None:
        good = WHOLES[dialect], STREAMS.get(dialect, b"")
        self.first.play(lambda _: [sent])
        self.second.play(lambda request: [good[is_streamed(request)]])

    def balance(self) -> float:
        told: dict[str, float] = orjson.loads(call(self.gateway, "GET", "/v1/me", Authorization=self.key.bearer).body)
        return told["balance_usd"]


@pytest.fixture(scope="module")
def stage(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("wrong"))
    with stage.keyring.serving(logs) as stage.gateway:
        yield stage
    stage.first.close()
    stage.second.close()


def assert_failed(stage: Stage, asked: str, sent: bytes, *, streamed: bool) -> dict[str, Any]:
    """The upstream that sends this has failed, and the next one answers; without one it is a 502, which is free."""
    stage.play(asked, sent)
    told = stage.post(asked, "two", streamed=streamed)
    assert (told.status, told.headers["x-upstream"]) == (200, "second"), told.body
    stage.play(asked, sent)
    before = stage.balance()
    told = stage.post(asked, "one", streamed=streamed)
    assert (told.status, len(stage.first.requests)) == (502, 1), told.body
    assert told.headers["content-type"].startswith("application/json")
    found = json.loads(told.body)
    assert (found.get("type"), found["error"]["type"]) == ("error" if asked == "messages" else None, "api_error")
    assert stage.balance() == before
    error: dict[str, Any] = found["error"]
    return error


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("way", ["events", "document"])
@pytest.mark.parametrize("sent", WHOLES)
@pytest.mark.parametrize("asked", ASKED)
def test_an_answer_in_another_dialect_is_none(stage: Stage, asked: str, sent: str, way: str, streamed: bool) -> None:
    content = (STREAMS if way == "events" else WHOLES).get(sent)
    if sent == asked or content is None or (streamed and asked == "embeddings"):
        return
    assert "word" not in assert_failed(stage, asked, content, streamed=streamed)["message"]


@pytest.mark.parametrize("text", ["word", "A" * LONG], ids=["short", "long"])
@pytest.mark.parametrize(
    ("asked", "words"),
    [("responses", "a whole response in place of events"), ("messages", "a whole message in place of events")],
)
def test_a_document_in_the_place_of_a_stream_is_told_to_be_one(
    stage: Stage, asked: str, words: str, text: str
) -> None:
    told = {"responses": told_response, "messages": message}[asked](text)
    for content in (orjson.dumps(told), orjson.dumps(told, option=orjson.OPT_INDENT_2)):
        error = assert_failed(stage, asked, whole(200, content), streamed=True)
        assert error["message"] == f"first: the upstream sent {words}"


@pytest.mark.parametrize("asked", ["chat", "completions"])
def test_a_completion_in_the_place_of_a_stream_is_told_as_one_event(stage: Stage, asked: str) -> None:
    stage.play(asked, WHOLES[asked])
    told = stage.post(asked, "one", streamed=True)
    assert (told.status, told.body.count(b"data: {")) == (200, 1)
    assert told.events()[-1] == "[DONE]"
