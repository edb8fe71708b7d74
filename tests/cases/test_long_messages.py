"""No long message holds the event loop, whatever it holds; what needs no repair is relayed as it came."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.wire import sse
from tests.dialects.messages.events import START, STOP, TEXT, delta, stopping
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import Answer, call
from tests.kit.messages import MODEL, message_body, messages_gateway
from tests.kit.raw_upstream import RawUpstream

pytestmark = pytest.mark.deep

CASES: list[Mapping[str, Any]] = tomllib.loads((Path(__file__).parent / "long_messages.toml").read_text())["case"]
LONGEST_TURN = 0.02  # of processor time
PATH = "/v1/messages"


class Stage:
    """An upstream that plays the case it is given."""

    def __init__(self) -> None:
        self._response = b""
        self.upstream = RawUpstream(lambda request: self._response, "long")

    def answer(self, gateway: LocalGateway, case: Mapping[str, Any]) -> tuple[Answer, bytes]:
        """The answer of the gateway, and what the upstream sent."""
        streamed = "event" in case
        content = b"".join(text.encode() * times for text, times in case["event" if streamed else "whole"])
        if streamed:
            content = b"".join((START, TEXT, delta("hi"), content, stopping(), STOP))
        are_events = content.startswith(b"event:")
        kind = "text/event-stream" if are_events else "application/json"
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
        self._response = head.encode() + content
        return call(gateway, "POST", PATH, message_body(stream=streamed)), content


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.upstream.close()


@pytest.fixture(scope="module")
def gateway(stage: Stage, logs: Path) -> Iterator[LocalGateway]:
    gateway = messages_gateway(logs, [(stage.upstream, [MODEL])], "[routing]\nbreaker_failures = 0\n")
    yield gateway
    gateway.close()


def text_of(case: Mapping[str, Any]) -> str:
    """The long text of a case, as its JSON has it."""
    return "".join(text * times for text, times in case["event" if "event" in case else "whole"][1:2])


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_long_message_is_told_and_holds_up_nobody(
    stage: Stage, gateway: LocalGateway, case: Mapping[str, Any]
) -> None:
    (answer, came), longest = gateway.watch(lambda: stage.answer(gateway, case), LONGEST_TURN)
    if "told" in case:
        assert case["told"].encode() in answer.body
        assert b'"type":"error"' in answer.body
    elif case.get("same"):
        assert answer.body == came
    elif "event" in case:
        blocks = sse.BlockDecoder(1 << 27).feed(answer.body)
        assert all(map(sse.is_named_frame, blocks))
        long = json.loads(sse.decode(max(blocks, key=len)).data or b"")
        assert long["delta"]["text"] == json.loads(f'"{text_of(case)}"')
    else:
        message = json.loads(answer.body)
        assert len(message["content"][0]["text"]) >= 160_000
        assert message["usage"]["output_tokens"] > 0
    assert longest < LONGEST_TURN
