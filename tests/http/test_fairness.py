"""Requests that come at once begin and end in many turns of the loop, so that the tokens of others go in between."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import MODEL, body, text
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import Answer, RawClient
from tests.kit.upstreams import Upstreams

REQUESTS = 100
LARGEST_SHARE = 1 / 12  # of the time of all turns that the longest one may have; with shares it has a fiftieth


@pytest.fixture(scope="module")
def gateway(logs: Path, upstreams: Upstreams) -> Iterator[LocalGateway]:
    gateway = LocalGateway(logs, configuration([(upstreams.start("crowd"), [MODEL])]), KEYS)
    try:
        yield gateway
    finally:
        gateway.close()


def said(answer: Answer, *, streamed: bool) -> str:
    return answer.text() if streamed else str(json.loads(answer.body)["choices"][0]["message"]["content"])


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
def test_requests_that_come_at_once_are_served_in_many_turns(gateway: LocalGateway, streamed: bool) -> None:
    script: dict[str, Any] = {"ttft_ms": 300, "gap_ms": 0, "tokens": 4}
    content = body(script, stream=streamed)
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(gateway.port)) for _ in range(REQUESTS)]
        for client in clients:  # each has a connection that the gateway has accepted
            client.post(body({"ttft_ms": 0, "tokens": 1}, stream=True))
            client.answer()
        with gateway.watched() as watch:
            gateway.block(0.2)  # so that one turn finds all of the requests
            for client in clients:
                client.post(content)
            answers = [client.answer() for client in clients]
    assert {answer.status for answer in answers} == {200}
    assert {said(answer, streamed=streamed) for answer in answers} == {text(4)}
    assert watch.longest < watch.total * LARGEST_SHARE
