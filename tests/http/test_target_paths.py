"""Paths as clients write them: each means one path that the gateway serves, and a 404 says which there are."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.http.target_paths import served_target
from tests.kit.completions import MODEL, QUICK, body
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import RawClient
from tests.kit.upstreams import Upstream

WRITTEN = {
    "/v1/chat/completions": "/v1/chat/completions",
    "/v1/chat/completions/": "/v1/chat/completions",
    "//v1//chat///completions": "/v1/chat/completions",
    "/v1/v1/chat/completions": "/v1/chat/completions",
    "/chat/completions?api-version=1": "/v1/chat/completions?api-version=1",
    "/v1/v1/messages?beta=true": "/v1/messages?beta=true",
    "//v1/responses/resp_1//cancel": "/v1/responses/resp_1/cancel",
    "/models": "/v1/models",
    "/models/": "/v1/models",
    "/models/a//b": "/v1/models/a//b",
    "/v1/models/a/b/": "/v1/models/a/b/",
    "/v1/streams/st_1/events?token=a//b": "/v1/streams/st_1/events?token=a//b",
    "/": "/",
    "/dashboard": "/dashboard",
    "/dashboard/": "/dashboard",
    "/streams": "/streams",
    "http://other/v1/models/": "http://other/v1/models/",
    "*": "*",
}


@pytest.mark.parametrize(("written", "served"), WRITTEN.items())
def test_a_path_as_it_is_written_means_a_path_that_is_served(written: str, served: str) -> None:
    assert served_target(written) == served
    assert served_target(served) == served


@pytest.fixture(scope="module")
def gateway(logs: Path, alpha: Upstream) -> Iterator[LocalGateway]:
    gateway = LocalGateway(logs, configuration([(alpha, [MODEL])]), KEYS)
    yield gateway
    gateway.close()


@pytest.mark.parametrize(
    "path", ["/chat/completions", "/v1/v1/chat/completions", "/v1/chat/completions/", "//v1//chat/completions"]
)
@pytest.mark.parametrize("streamed", [True, False])
def test_a_completion_is_served_at_every_path_that_clients_write(
    gateway: LocalGateway, path: str, streamed: bool
) -> None:
    with RawClient(gateway.port) as client:
        client.request("POST", path, body(QUICK, stream=streamed))
        answer = client.answer()
    assert answer.status == 200
    assert b"chatcmpl" in answer.body


@pytest.mark.parametrize(("method", "path"), [("GET", "/models/"), ("GET", f"//v1/models/{MODEL}"), ("HEAD", "/")])
def test_other_paths_are_served_as_they_are_written(gateway: LocalGateway, method: str, path: str) -> None:
    with RawClient(gateway.port) as client:
        client.request(method, path)
        assert client.head().status in (200, 302)


@pytest.mark.parametrize("path", ["/v2/chat/completions", "/v1/chat", "/v1/nothing"])
def test_a_path_that_there_is_not_is_told_with_those_that_there_are(gateway: LocalGateway, path: str) -> None:
    with RawClient(gateway.port) as client:
        client.request("POST", path, body(QUICK))
        answer = client.answer()
    assert answer.status == 404
    assert path in answer.error()["message"]
    assert "POST /v1/chat/completions" in answer.error()["message"]
    assert "GET /v1/models" in answer.error()["message"]


def test_a_path_without_v1_needs_the_same_key_and_origin(gateway: LocalGateway) -> None:
    with RawClient(gateway.port) as client:
        client.request("POST", "//chat/completions/", body(QUICK), Origin="https://foreign.example")
        assert client.answer().status == 403


def test_models_are_listed_in_the_shape_of_the_client_that_asks(gateway: LocalGateway) -> None:
    with RawClient(gateway.port) as client:
        client.request("GET", "/v1/models?limit=1", anthropic_version="2023-06-01")
        listed = json.loads(client.answer().body)
        client.request("GET", f"/v1/models/{MODEL}", anthropic_version="2023-06-01")
        one = json.loads(client.answer().body)
        client.request("GET", "/v1/models?limit=0", anthropic_version="2023-06-01")
        refused = client.answer()
    assert listed == {"data": [one], "has_more": False, "first_id": MODEL, "last_id": MODEL}
    assert one.keys() == {"type", "id", "display_name", "created_at"}
    assert refused.status == 400
