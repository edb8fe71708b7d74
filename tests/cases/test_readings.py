"""An answer whose reading fails ends in an error for the client, and holds nothing: the cases of readings.toml."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import MODEL, body
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import call, fetch
from tests.kit.keyring import Keyring, fetch_json
from tests.kit.raw_upstream import RawUpstream
from tests.kit.waiting import wait_for

CASES = tomllib.loads(Path(__file__).with_name("readings.toml").read_text())["case"]
SHARED = '"id": "c", "created": 1, "model": "m"'


def deep(levels: re.Match[str]) -> str:
    return "[" * int(levels[1]) + "]" * int(levels[1])


def answer(request: bytes) -> bytes:
    """The answer of the case that the member `user` names."""
    case = CASES[int(json.loads(request.partition(b"\r\n\r\n")[2])["user"])]
    members = re.sub(r"DEEP\((\d+)\)", deep, case["answer"]).replace("NINES", "9" * 1000)
    kind, content = "application/json", f'{{{SHARED}, "object": "chat.completion", {members}}}'
    if case.get("streamed"):
        event = f'{{{SHARED}, "object": "chat.completion.chunk", {members}}}'
        kind, content = "text/event-stream", f"data: {event}\n\ndata: [DONE]\n\n"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
    return (head + content).encode()


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    upstream = RawUpstream(answer, "odd")
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory, upstream: RawUpstream) -> Keyring:
    return Keyring(tmp_path_factory.mktemp("readings"), [(upstream, [MODEL])])


@pytest.fixture(scope="module")
def gateway(logs: Path, keyring: Keyring) -> Iterator[LocalGateway]:
    with keyring.serving(logs) as gateway:
        yield gateway


@pytest.mark.parametrize("place", range(len(CASES)), ids=[case["name"] for case in CASES])
def test_an_answer_that_cannot_be_read_is_told_and_settled_once(
    gateway: LocalGateway, keyring: Keyring, place: int
) -> None:
    case: dict[str, Any] = CASES[place]
    key = keyring.create(balance_usd="1", max_streams=1)
    request = body(user=str(place), stream=bool(case.get("streamed")))
    told = fetch(gateway.port, request, Authorization=key.bearer)
    assert told.status in case["statuses"]
    again = fetch(gateway.port, request, Authorization=key.bearer)  # the only place of the key is free again
    assert again.status == told.status
    [first, second] = keyring.records(key, 2)
    assert keyring.balance(key) == 1_000_000 - first["cost"] - second["cost"]
    wait_for(lambda: json.loads(call(gateway, "GET", "/readyz").body)["streams"] == 0, "the end of all answers")
    assert fetch_json(gateway, "/v1/me", key)["balance_usd"] == pytest.approx(
        1 - (first["cost"] + second["cost"]) / 1_000_000
    )
