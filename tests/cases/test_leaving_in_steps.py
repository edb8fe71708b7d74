"""A client that leaves while its long body, or its long answer, is worked on in steps leaves nothing behind."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.completions import MODEL, body
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import RawClient, call, fetch
from tests.kit.raw_upstream import RawUpstream
from tests.kit.waiting import wait_for

pytestmark = pytest.mark.deep

MIB = 1 << 20
DELAYS = (
    0,
    0.002,
    0.005,
    0.01,
    0.02,
    0.04,
)  # seconds after which the client leaves: each in the middle of other steps
CHUNK = 'data: {"id":"c","created":1,"model":"m","choices":[%s]}\n\n'
LONG = CHUNK % f'{{"index":0,"delta":{{"content":"{"a word " * (3 * MIB // 7)}","x":[{",".join(["1"] * 200_000)}]}}}}'
SHORT = CHUNK % '{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}'
EVENTS = (SHORT.replace('"stop"', "null") + LONG + SHORT + "data: [DONE]\n\n").encode()
HI = [{"role": "user", "content": "hi"}]
PARTS = [{"type": "text", "text": "word " * 400}] * 3000
REQUESTS = {
    "a long body that is checked": body(stream=True, messages=[{"role": "user", "content": PARTS}], n=0),
    "a long event that is filled": body(stream=True, messages=HI),
    "a long answer that is joined": body(stream=False, messages=HI),
}


@pytest.fixture(scope="module")
def gateway(logs: Path) -> Iterator[LocalGateway]:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(EVENTS)
    upstream = RawUpstream(lambda request: head + EVENTS, "long")
    gateway = LocalGateway(logs, configuration([(upstream, [MODEL])], "[routing]\nbreaker_failures = 0\n"), KEYS)
    yield gateway
    gateway.close()
    upstream.close()


def is_idle(gateway: LocalGateway) -> bool:
    """Whether no answer runs, and no connection is open but the one that asks."""
    with RawClient(gateway.port) as client:
        client.request("GET", "/v1/feeds/statistics/events")
        client.head()
        text = b""
        while b"\n\n" not in text.partition(b"data: ")[2]:
            text += client.chunk()
    told = json.loads(text.partition(b"data: ")[2].partition(b"\n")[0])
    return bool(told["streams"]["running"] == 0 and told["connections"] <= 1)


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("work", REQUESTS)
def test_a_client_that_leaves_in_the_middle_of_steps_leaves_nothing_behind(
    gateway: LocalGateway, work: str, how: str
) -> None:
    for delay in DELAYS:
        client = RawClient(gateway.port)
        client.post(REQUESTS[work])
        time.sleep(delay)
        client.hang_up(how)
    wait_for(lambda: is_idle(gateway), "nothing to run")
    assert call(gateway, "GET", "/readyz").status == 200
    answer = fetch(gateway.port, body(stream=True, messages=HI))
    assert answer.status == 200
    assert len(answer.body) > 3 * MIB
