"""Streams through the gateway's own API: making a stream, and looking at it until it is as a test expects."""

import json
from typing import Any

from .completions import body
from .gateway import Gateway
from .http_client import call
from .waiting import wait_for


def create(gateway: Gateway, simulate: dict[str, Any], **headers: str) -> dict[str, Any]:
    """A stream without a subscriber."""
    answer = call(gateway, "POST", "/v1/streams", body(simulate), **headers)
    assert answer.status == 201, answer.body
    fields: dict[str, Any] = json.loads(answer.body)
    return fields


def describe(gateway: Gateway, stream_id: str, **headers: str) -> dict[str, Any]:
    """The JSON with which the gateway describes a stream."""
    answer = call(gateway, "GET", f"/v1/streams/{stream_id}", **headers)
    assert answer.status == 200, answer.body
    fields: dict[str, Any] = json.loads(answer.body)
    return fields


def wait_for_state(gateway: Gateway, stream_id: str, **fields: object) -> dict[str, Any]:
    """The stream as soon as it has these fields."""

    def look() -> dict[str, Any] | None:
        described = describe(gateway, stream_id)
        return described if fields.items() <= described.items() else None

    return wait_for(look, f"{stream_id} with {fields}")


def wait_for_events(gateway: Gateway, stream_id: str, count: int) -> dict[str, Any]:
    """The stream as soon as it has at least this many events."""

    def look() -> dict[str, Any] | None:
        described = describe(gateway, stream_id)
        return described if described["events"] >= count else None

    return wait_for(look, f"{count} events in {stream_id}")
