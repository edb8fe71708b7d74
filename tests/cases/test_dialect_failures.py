"""A failure inside of an answer with a good status has the status that it tells of, in the form of each dialect."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.dialects.messages.events import PING, START
from tests.dialects.responses.events import created, event, response
from tests.kit.completions import UPSTREAM_KEY
from tests.kit.configuration import KEYS, ORDERED, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import Answer, call
from tests.kit.scripted_upstream import STREAM_HEAD, ScriptedUpstream
from tests.kit.scripted_upstream import response as whole

from .cases import cases

ASKED: dict[str, dict[str, Any]] = {
    "responses": {"input": "hello"},
    "messages": {"max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]},
    "completions": {"prompt": "hello"},
    "embeddings": {"input": "hello"},
}
Error = dict[str, Any]
# How each dialect tells of a failure before the content; the last part of a name says whether a stream was asked for.
FORMS: dict[str, Callable[[Error], bytes]] = {
    "responses, flat event": lambda error: STREAM_HEAD + created() + event("error", 1, **_flat(error)),
    "responses, nested event": lambda error: STREAM_HEAD + event("error", 0, error=error),
    "responses, both": lambda error: STREAM_HEAD + event("error", 0, **_flat(error), error=error),
    "responses, failed": lambda error: (
        STREAM_HEAD + created() + event("response.failed", 1, response=response("failed", error=error))
    ),
    "responses, object": lambda error: whole(200, orjson.dumps({"error": error})),
    "responses, whole": lambda error: whole(200, orjson.dumps(response("failed", error=error))),
    "messages, event": lambda error: STREAM_HEAD + START + PING + event("error", None, error=error),
    "messages, first event": lambda error: STREAM_HEAD + event("error", None, error=error, request_id="r"),
    "messages, object": lambda error: whole(200, orjson.dumps({"type": "error", "error": error})),
    "messages, whole": lambda error: whole(200, orjson.dumps({"type": "error", "error": error})),
    "completions, event": lambda error: STREAM_HEAD + b"data: " + orjson.dumps({"error": error}) + b"\n\n",
    "completions, whole": lambda error: whole(200, orjson.dumps({"error": error})),
    "embeddings, whole": lambda error: whole(200, orjson.dumps({"error": error})),
}


def _flat(error: Error) -> dict[str, Any]:
    """The members that stand in the event itself, whose `type` is taken: a code has to tell all."""
    return {"code": error.get("code", error.get("type")), "message": error["message"], "param": None}


@pytest.fixture(scope="module")
def first() -> Iterator[ScriptedUpstream]:
    upstream = ScriptedUpstream("first")
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def gateway(logs: Path, first: ScriptedUpstream) -> Iterator[LocalGateway]:
    gateway = LocalGateway(logs, configuration([(first, ["one"])], ORDERED), KEYS)
    yield gateway
    gateway.close()


def post(gateway: LocalGateway, form: str) -> Answer:
    dialect, _, way = form.partition(", ")
    body: dict[str, Any] = {"model": "one", "stream": way != "whole", **ASKED[dialect]}
    return call(gateway, "POST", f"/v1/{dialect}", body)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", cases("dialect_failures.toml"))
def test_a_failure_has_the_status_that_it_tells_of(
    gateway: LocalGateway, first: ScriptedUpstream, case: dict[str, Any], form: str
) -> None:
    told: Error = {name: case[name] for name in ("type", "code") if name in case}
    error: Error = {**told, "message": f"Tell-tale: {UPSTREAM_KEY}"}
    first.play(lambda _: [FORMS[form](error)])
    answer = post(gateway, form)
    found = answer.error()
    assert (answer.status, len(first.requests)) == (case["status"], 1), found
    assert [words for words in case.get("words", ["Tell-tale"]) if words not in found["message"]] == [], found
    assert UPSTREAM_KEY not in json.dumps(found)
    if form.startswith("messages"):
        assert found["type"] == case["kind"]
    elif "flat" not in form or "code" in case or case["told"] == "upstream_error":
        assert found["code"] == case["told"]
