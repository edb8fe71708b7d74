"""No request for a message holds the event loop: the corpus of hostile requests, and what only messages have."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import QUICK
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import Answer, call
from tests.kit.messages import MODEL, message_body, messages_gateway
from tests.kit.upstreams import Upstream

from .hostile import CASES, built

pytestmark = pytest.mark.deep

LONGEST_TURN = 0.02  # of processor time
PATHS = ("/v1/messages", "/v1/messages/count_tokens")
IMAGE = b'{"type":"image","source":{"type":"base64","media_type":"image/png","data":"%b"}}'
URL = b'{"type":"document","source":{"type":"url","url":"https://example.com/"}}'
BLOCKS = {
    "many images": IMAGE % (b"A" * 100),
    "many documents that are elsewhere": URL,
    "many names of sources": b'"url"',
    "many texts that could be images": b'"' + b"u" * 90 + b'"',
    "blanks before what could be an image": b'{"media_type":"image/png",' + b" " * 60 + b'"data":"%b"}' % (b"A" * 90),
}


@pytest.fixture(scope="module")
def gateway(logs: Path, alpha: Upstream) -> Iterator[LocalGateway]:
    gateway = messages_gateway(logs, [(alpha, [MODEL])])
    yield gateway
    gateway.close()


def watched(gateway: LocalGateway, path: str, content: Any, **headers: str) -> Answer:
    """The answer, after a look at the longest turn meanwhile."""
    answer, longest = gateway.watch(lambda: call(gateway, "POST", path, content, **headers), LONGEST_TURN)
    assert longest < LONGEST_TURN
    return answer


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_hostile_request_gets_its_answer_and_holds_up_nobody(
    gateway: LocalGateway, case: Mapping[str, Any]
) -> None:
    request = built(case)
    answer = watched(gateway, PATHS[0], request.content, **request.headers)
    assert answer.status >= 400
    assert answer.error()["message"]
    assert len(answer.body) < 2000


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("count", [600, 30_000])
def test_what_the_estimate_looks_at_holds_up_nobody(gateway: LocalGateway, name: str, path: str, count: int) -> None:
    content = b'{"model":"none","messages":[{"role":"user","content":[%b]}]}' % b",".join([BLOCKS[name]] * count)
    assert watched(gateway, path, content).status in (400, 404)


def test_a_large_good_request_reaches_its_upstream_and_holds_up_nobody(gateway: LocalGateway) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "A" * 40_000_000}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]
    body = message_body(QUICK, stream=True, messages=[{"role": "user", "content": content}])
    answer = watched(gateway, PATHS[0], body)
    assert answer.status == 200
    assert answer.body.endswith(b'data: {"type":"message_stop"}\n\n')
