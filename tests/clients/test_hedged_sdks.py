"""Answers of a second upstream, while the first was silent, as the official SDKs of each dialect tell them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.kit.completions import CLIENT_KEY, PROMPT, text
from tests.kit.configuration import KEYS, ORDERED, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.messages import PAIR, message_body
from tests.kit.sdks import LazyModule
from tests.kit.upstreams import Upstream

if TYPE_CHECKING:
    import anthropic
    import openai
else:
    anthropic, openai = LazyModule("anthropic"), LazyModule("openai")

HEDGED = "[ttft]\nhedge_after = 100\nhedge_max_share = 1\n" + ORDERED
WHOLE_TEXT = text(8)


@pytest.fixture(scope="module")
def hedging(logs: Path, alpha: Upstream, frail_all_session: Upstream) -> Iterator[LocalGateway]:
    """A gateway that asks a second upstream when the first one is silent."""
    gateway = LocalGateway(logs, configuration([(frail_all_session, [PAIR]), (alpha, [PAIR])], HEDGED), KEYS)
    yield gateway
    gateway.close()


@pytest.fixture(autouse=True)
def silent(frail: Upstream) -> Upstream:
    frail.follow(stall_before="head")
    return frail


@pytest.fixture
def openai_client(hedging: LocalGateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=hedging.url, api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(hedging: LocalGateway) -> Iterator[anthropic.Anthropic]:
    url = hedging.url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=url, api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


def test_a_response_of_the_second_upstream_is_whole_and_can_be_resumed(openai_client: openai.OpenAI) -> None:
    answer = openai_client.responses.with_raw_response.create(model=PAIR, input=PROMPT, stream=True)
    events: list[Any] = list(answer.parse())
    assert (answer.headers["x-upstream"], answer.headers["x-attempts"]) == ("alpha", "2")
    assert [event.type for event in events].count("response.created") == 1
    assert (events[-1].type, events[-1].response.output_text) == ("response.completed", WHOLE_TEXT)
    rest = list(openai_client.responses.retrieve(events[0].response.id, stream=True, starting_after=3))
    assert [event.sequence_number for event in rest] == list(range(4, len(events)))


def test_the_stream_method_accumulates_a_response_of_the_second_upstream(openai_client: openai.OpenAI) -> None:
    with openai_client.responses.stream(model=PAIR, input=PROMPT) as stream:
        assert stream.get_final_response().output_text == WHOLE_TEXT


def test_a_text_completion_of_the_second_upstream_is_whole(openai_client: openai.OpenAI) -> None:
    chunks = list(openai_client.completions.create(model=PAIR, prompt=PROMPT, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == WHOLE_TEXT
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_message_of_the_second_upstream_is_whole(anthropic_client: anthropic.Anthropic, silent: Upstream) -> None:
    asked: dict[str, Any] = message_body(model=PAIR)
    before = silent.statistics()
    with anthropic_client.messages.stream(**asked) as stream:
        assert stream.get_final_text() == WHOLE_TEXT
        assert stream.response.headers["x-attempts"] == "2"
    silent.wait_for_abort(before)
    events = list(anthropic_client.messages.create(**asked, stream=True))
    assert [event.type for event in events].count("message_start") == 1
    assert events[-1].type == "message_stop"
