"""Responses over HTTP: the bytes of the answer, its subscribers, and a stream that is made for them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.wire import sse
from tests.dialects.responses.events import payload
from tests.kit.completions import MODEL, PROMPT, QUICK, text
from tests.kit.configuration import Served
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import Answer, call
from tests.kit.responses import responses_gateway
from tests.kit.sse_client import Subscriber

KINDS = [
    *("response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"),
    *["response.output_text.delta"] * 8,
    *("response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed"),
]


@pytest.fixture(scope="module")
def gateway(logs: Path, served: Served) -> Iterator[LocalGateway]:
    gateway = responses_gateway(logs, served)
    yield gateway
    gateway.close()


def ask(**fields: Any) -> bytes:
    return orjson.dumps({"model": MODEL, "input": PROMPT, "simulate": QUICK, **fields})


def post(gateway: LocalGateway, path: str = "/v1/responses", **fields: Any) -> Answer:
    return call(gateway, "POST", path, ask(**fields), Content_Type="application/json")


def blocks(body: bytes) -> list[bytes]:
    return sse.BlockDecoder().feed(body)


@pytest.mark.parametrize(
    "path", ["/v1/responses", "/v1/responses/", "/responses", "/v1/v1/responses", "//v1/responses"]
)
def test_the_events_are_those_of_the_provider_and_no_other(gateway: LocalGateway, path: str) -> None:
    answer = post(gateway, path, stream=True)
    assert answer.status == 200
    events = blocks(answer.body)
    assert [payload(event)["type"] for event in events] == KINDS
    assert all(event.startswith(b"event: response.") for event in events)


def test_a_subscription_has_the_names_of_the_events_and_positions_of_our_own(gateway: LocalGateway) -> None:
    answer = post(gateway, stream=True)
    path = f"/v1/streams/{answer.headers['x-stream-id']}/events"
    with Subscriber(gateway.port, path, trust=None) as subscriber:
        events = subscriber.all_events()
    assert [event.name for event in events] == [*KINDS, "end"]
    assert [event.seq for event in events] == list(range(len(events)))
    assert "".join(event.json["delta"] for event in events if event.name == KINDS[4]) == text(8)


def test_a_stream_of_responses_is_made_for_subscribers(gateway: LocalGateway) -> None:
    made = post(gateway, "/v1/streams?dialect=responses")
    assert made.status in (200, 201, 202)
    with Subscriber(gateway.port, orjson.loads(made.body)["events_url"], trust=None) as subscriber:
        events = subscriber.all_events()
    assert [event.name for event in events] == [*KINDS, "end"]


def test_a_model_that_no_upstream_serves_in_responses_is_not_found(gateway: LocalGateway) -> None:
    answer = post(gateway, model="no-such-model", stream=True)
    assert (answer.status, answer.error()["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions"])
def test_a_body_of_the_other_api_is_refused_and_nothing_is_asked(gateway: LocalGateway, path: str) -> None:
    other = {"messages": [{"role": "user", "content": PROMPT}]} if path == "/v1/responses" else {"input": PROMPT}
    answer = call(gateway, "POST", path, orjson.dumps({"model": MODEL, "stream": True, **other}))
    assert answer.status == 400
    assert answer.error()["param"] == ("input" if path == "/v1/responses" else "messages")
