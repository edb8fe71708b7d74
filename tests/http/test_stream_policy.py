"""A request decides what becomes of its stream without subscribers: `gateway.stream` wins over the configuration."""

from typing import Any

import pytest

from tests.kit.completions import ENDLESS, QUICK, body
from tests.kit.gateway import Gateway
from tests.kit.http_client import RawClient, call, fetch
from tests.kit.sse_client import Subscriber
from tests.kit.streams import create, describe, wait_for_state
from tests.kit.upstreams import Upstream

SLOW = {"ttft_ms": 5, "gap_ms": 10, "tokens": 60}


def left(gateway: Gateway, simulate: dict[str, Any], policy: dict[str, Any]) -> str:
    """The id of a completion whose only subscriber has left."""
    with RawClient(gateway.port) as client:
        client.post(body(simulate, stream=True, gateway={"stream": policy}))
        stream_id = client.head().headers["x-stream-id"]
        client.chunk()
    return stream_id


def test_a_completion_may_ask_to_be_read_to_its_end(gateway: Gateway, alpha: Upstream) -> None:
    before = alpha.statistics()
    stream_id = left(gateway, SLOW, {"on_last_reader": "drain"})
    assert wait_for_state(gateway, stream_id, state="ended")["ending"] == "completed"
    assert alpha.statistics().aborted == before.aborted


def test_a_completion_may_ask_for_a_grace(gateway: Gateway, alpha: Upstream) -> None:
    before = alpha.statistics()
    stream_id = left(gateway, ENDLESS, {"abort_grace_ms": 300})
    with Subscriber(gateway.port, f"/v1/streams/{stream_id}/events") as back:
        back.events(60)
        assert alpha.statistics().aborted == before.aborted
    alpha.wait_for_abort(before)
    assert describe(gateway, stream_id)["ending"] == "abandoned"


def test_a_detached_stream_may_ask_to_end_with_its_last_subscriber(gateway: Gateway, alpha: Upstream) -> None:
    before = alpha.statistics()
    policy = {"stream": {"on_last_reader": "abort"}}
    answer = call(gateway, "POST", "/v1/streams", body(ENDLESS, gateway=policy))
    stream_id = answer.headers["x-stream-id"]
    with Subscriber(gateway.port, f"/v1/streams/{stream_id}/events") as reader:
        reader.events(3)
    alpha.wait_for_abort(before)
    assert describe(gateway, stream_id)["ending"] == "abandoned"


def test_a_detached_stream_outlives_its_subscribers_unless_asked(gateway: Gateway) -> None:
    stream = create(gateway, SLOW)
    with Subscriber(gateway.port, stream["events_url"]) as reader:
        reader.events(3)
    assert wait_for_state(gateway, stream["id"], state="ended")["ending"] == "completed"


@pytest.mark.parametrize(
    ("policy", "param"),
    [
        ({"on_last_reader": "stay"}, "gateway.stream.on_last_reader"),
        ({"abort_grace_ms": -1}, "gateway.stream.abort_grace_ms"),
        ({"abort_grace_ms": 1.5}, "gateway.stream.abort_grace_ms"),
        ({"abort_grace": 1}, "gateway.stream.abort_grace"),
        ("drain", "gateway.stream"),
    ],
)
def test_a_bad_policy_is_refused_by_name(gateway: Gateway, alpha: Upstream, policy: Any, param: str) -> None:
    before = alpha.statistics().requests
    refused = fetch(gateway.port, body(QUICK, stream=True, gateway={"stream": policy}))
    assert (refused.status, refused.error()["param"]) == (400, param)
    assert alpha.statistics().requests == before


def test_a_request_for_a_detached_stream_with_the_key_of_a_completion_keeps_the_completion(gateway: Gateway) -> None:
    shared, key = body(SLOW, stream=True), {"X-Stream-Key": "kept for the second"}
    with RawClient(gateway.port) as first:
        first.post(shared, **key)
        stream_id = first.head().headers["x-stream-id"]
        second = call(gateway, "POST", "/v1/streams", shared, **key)
        assert (second.status, second.headers["x-stream-id"]) == (201, stream_id)
        first.hang_up("rst")
    assert wait_for_state(gateway, stream_id, state="ended")["ending"] == "completed"
