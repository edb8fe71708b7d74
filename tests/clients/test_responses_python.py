"""The Responses API with the OpenAI SDK for Python, sync and async, as its users write it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.kit.completions import CLIENT_KEY, ENDLESS, MODEL, PROMPT, QUICK, text
from tests.kit.configuration import Served
from tests.kit.gateway import Gateway
from tests.kit.responses import responses_gateway
from tests.kit.sdks import LazyModule
from tests.kit.upstreams import Upstream

if TYPE_CHECKING:
    import openai
else:
    openai = LazyModule("openai")

WHOLE_TEXT = text(8)
FAULTS = ["error_after", "reset_after", "cut_after", "close_after"]


@pytest.fixture(scope="module")
def gateway(logs: Path, served: Served) -> Iterator[Gateway]:
    gateway = responses_gateway(logs, served)
    yield gateway
    gateway.close()


def ask(simulate: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A request as keyword arguments; the provider behaves as `simulate` says."""
    return {"model": MODEL, "input": PROMPT, "extra_body": {"simulate": simulate}, **fields}


class Counted:
    """A client and the number of requests it has sent, retries included."""

    def __init__(self, gateway: Gateway) -> None:
        self.requests = 0
        http = openai.DefaultHttpxClient(event_hooks={"request": [self._count]})
        self.client = openai.OpenAI(base_url=gateway.url, api_key=CLIENT_KEY, http_client=http)

    def _count(self, request: object) -> None:
        self.requests += 1


@pytest.fixture
def counted(gateway: Gateway) -> Iterator[Counted]:
    counted = Counted(gateway)
    with counted.client:
        yield counted


@pytest.fixture
def client(counted: Counted) -> openai.OpenAI:
    return counted.client


@pytest.fixture
async def aclient(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=gateway.url, api_key=CLIENT_KEY) as client:
        yield client


def test_a_streamed_response_arrives_whole_in_order_and_numbered(client: openai.OpenAI) -> None:
    events = list(client.responses.create(**ask(QUICK, stream=True)))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == WHOLE_TEXT
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    assert events[-1].response.output_text == WHOLE_TEXT
    assert events[-1].response.usage.output_tokens == 8
    assert len({event.response.id for event in events if hasattr(event, "response")}) == 1


async def test_a_streamed_response_arrives_whole_and_in_order_async(aclient: openai.AsyncOpenAI) -> None:
    events = [event async for event in await aclient.responses.create(**ask(QUICK, stream=True))]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == WHOLE_TEXT


def test_a_response_that_is_not_streamed_arrives_with_usage(client: openai.OpenAI, gateway: Gateway) -> None:
    answer = client.responses.with_raw_response.create(**ask(QUICK))
    response = answer.parse()
    assert (response.output_text, response.status) == (WHOLE_TEXT, "completed")
    assert response.usage is not None
    assert response.usage.output_tokens == 8
    assert answer.headers["x-upstream"] == "alpha"
    assert gateway.ending(answer.headers["x-request-id"])["completion_tokens"] == 8


def test_the_stream_method_of_the_sdk_accumulates_the_response(client: openai.OpenAI) -> None:
    with client.responses.stream(**ask(QUICK)) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert snapshots[-1] == final.output_text == WHOLE_TEXT


async def test_the_stream_method_of_the_sdk_accumulates_the_response_async(aclient: openai.AsyncOpenAI) -> None:
    async with aclient.responses.stream(**ask(QUICK)) as stream:
        final = await stream.get_final_response()
    assert final.output_text == WHOLE_TEXT


def test_calls_of_tools_and_a_summary_of_the_reasoning_are_items_of_their_own(client: openai.OpenAI) -> None:
    behaviour = {**QUICK, "tool_calls": 2, "reasoning_tokens": 3}
    tools = [{"type": "function", "name": "lookup", "parameters": {"type": "object"}, "strict": False}]
    with client.responses.stream(**ask(behaviour, tools=tools)) as stream:
        final = stream.get_final_response()
    assert [item.type for item in final.output] == ["reasoning", "function_call", "function_call"]
    whole = client.responses.create(**ask(behaviour, tools=tools))
    streamed: Any
    item: Any
    for streamed, item in zip(final.output[1:], whole.output[1:], strict=True):
        assert (streamed.type, streamed.name, streamed.call_id) == (item.type, "lookup", item.call_id)
        assert json.loads(streamed.arguments) == json.loads(item.arguments)


def test_the_provider_gets_the_request_as_it_came_but_for_the_model(client: openai.OpenAI, alpha: Upstream) -> None:
    items = [{"role": "user", "content": [{"type": "input_text", "text": PROMPT}]}]
    more = {"store": False, "include": ["reasoning.encrypted_content"], "max_output_tokens": 99}
    list(client.responses.create(**{**ask(QUICK, stream=True, instructions="Be brief.", **more), "input": items}))
    seen = alpha.statistics().last_request
    assert seen is not None
    expected = {"model": "gpt-4o-2024", "input": items, "stream": True, "instructions": "Be brief.", **more}
    assert {name: value for name, value in seen["body"].items() if name != "simulate"} == expected


@pytest.mark.parametrize("streamed", [True, False])
def test_an_unknown_model_is_not_found_at_the_first_try(counted: Counted, streamed: bool) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        counted.client.responses.create(**{**ask(QUICK, stream=streamed), "model": "no-such-model"})
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert counted.requests == 1


def test_a_bad_field_is_refused_by_name_at_the_first_try(counted: Counted) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        counted.client.responses.create(**{**ask(QUICK), "input": 7})
    assert (caught.value.code, caught.value.param) == ("invalid_parameter_value", "input")
    assert counted.requests == 1


@pytest.mark.parametrize("streamed", [True, False])
def test_a_refusal_of_the_provider_is_told_at_once_as_the_clients_fault(counted: Counted, streamed: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        counted.client.responses.create(**ask({"status": 400}, stream=streamed))
    assert "status 400" in caught.value.message
    assert counted.requests == 1


@pytest.mark.parametrize("behaviour", [{"status": 500}, {"json_instead": True}, {"error_first": True}])
def test_a_failed_provider_is_a_bad_gateway_and_tried_again(counted: Counted, behaviour: dict[str, Any]) -> None:
    client = counted.client.with_options(max_retries=1)
    with pytest.raises(openai.InternalServerError) as caught:
        client.responses.create(**ask({"ttft_ms": 5, **behaviour}, stream=True))
    assert (caught.value.status_code, caught.value.code) == (502, "upstream_error")
    assert counted.requests == 2


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failure_after_content_is_an_error_in_the_stream(counted: Counted, fault: str) -> None:
    seen: list[str] = []
    stream = counted.client.responses.create(**ask({**QUICK, fault: 3}, stream=True))
    with pytest.raises(openai.APIError) as caught:
        seen.extend(event.delta for event in stream if event.type == "response.output_text.delta")
    assert not isinstance(caught.value, openai.APIConnectionError)
    assert (caught.value.code, caught.value.type) == ("upstream_error", "api_error")
    assert "".join(seen) in ("", text(3))
    assert counted.requests == 1


@pytest.mark.parametrize("fault", [{"error_after": 0}, {"close_after": 0}, {"cut_after": 0}, {"status": 503}])
def test_nothing_of_an_attempt_that_failed_before_its_content_goes_out(
    client: openai.OpenAI, frail: Upstream, fault: dict[str, Any]
) -> None:
    frail.follow(**{**QUICK, "seed": 7, **fault})
    answer = client.responses.with_raw_response.create(model="pair", input=PROMPT, stream=True)
    events: list[Any] = list(answer.parse())
    assert (answer.headers["x-upstream"], answer.headers["x-attempts"]) == ("alpha", "2")
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events].count("response.created") == 1
    assert len({event.response.id for event in events if hasattr(event, "response")}) == 1
    assert events[-1].response.output_text == WHOLE_TEXT


@pytest.mark.parametrize("fault", FAULTS)
def test_the_stream_method_raises_a_failure_after_content(client: openai.OpenAI, fault: str) -> None:
    with (
        pytest.raises(openai.APIError) as caught,
        client.responses.stream(**ask({**QUICK, fault: 3})) as stream,
    ):
        stream.get_final_response()
    assert caught.value.code == "upstream_error"


async def test_a_failure_after_content_is_raised_async(aclient: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.APIError) as caught:
        async for _ in await aclient.responses.create(**ask({**QUICK, "cut_after": 3}, stream=True)):
            pass
    assert caught.value.code == "upstream_error"


def test_a_close_aborts_the_provider(client: openai.OpenAI, alpha: Upstream) -> None:
    before = alpha.statistics()
    stream = client.responses.create(**ask(ENDLESS, stream=True))
    for count, _ in enumerate(stream):
        if count == 9:
            break
    stream.close()
    alpha.wait_for_abort(before)


# --- responses that are asked for again


def begun(client: openai.OpenAI, simulate: dict[str, Any], count: int, **fields: Any) -> tuple[str, list[Any]]:
    """The id of a response, of which this many events are read before its client leaves."""
    seen: list[Any] = []
    with client.responses.create(**ask(simulate, stream=True, **fields)) as stream:
        for event in stream:
            seen.append(event)
            if len(seen) == count:
                break
    return seen[0].response.id, seen


@pytest.mark.parametrize("count", range(1, 16))
def test_a_response_in_the_background_goes_on_wherever_its_reader_left(client: openai.OpenAI, count: int) -> None:
    behaviour = {**QUICK, "seed": 900 + count}
    response_id, seen = begun(client, behaviour, count, background=True, store=False)
    rest = list(client.responses.retrieve(response_id, stream=True, starting_after=seen[-1].sequence_number))
    events = [*seen, *rest]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == "".join(
        event.delta for event in events if event.type == "response.output_text.delta"
    )


def test_a_response_that_has_ended_is_told_again_as_a_whole_and_from_any_event(client: openai.OpenAI) -> None:
    events = list(client.responses.create(**ask({**QUICK, "seed": 950}, stream=True)))
    response_id = events[0].response.id
    assert client.responses.retrieve(response_id).output_text == events[-1].response.output_text
    for count in range(len(events)):
        again = list(client.responses.retrieve(response_id, stream=True, starting_after=count))
        assert [event.sequence_number for event in again] == list(range(count + 1, len(events)))


def test_the_stream_method_goes_on_with_a_response_by_its_id(client: openai.OpenAI) -> None:
    response_id, seen = begun(client, {**QUICK, "seed": 954}, 9, background=True)
    with client.responses.stream(response_id=response_id, starting_after=seen[-1].sequence_number) as stream:
        rest = [event.sequence_number for event in stream]
        assert stream.get_final_response().status == "completed"
    assert rest == list(range(9, 9 + len(rest)))


def test_a_whole_response_is_told_again_with_its_input_until_it_is_deleted(client: openai.OpenAI) -> None:
    made = client.responses.create(**ask(QUICK))
    assert client.responses.retrieve(made.id).output_text == WHOLE_TEXT
    [item] = client.responses.input_items.list(made.id)
    assert item.model_dump(exclude_none=True)["content"] == [{"type": "input_text", "text": PROMPT}]
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_many_readers_get_the_same_events(client: openai.OpenAI) -> None:
    behaviour = {**QUICK, "seed": 951, "gap_ms": 20, "tokens": 20}
    response_id, _ = begun(client, behaviour, 7, background=True)
    readers = [client.responses.retrieve(response_id, stream=True) for _ in range(3)]
    whole = [[event.sequence_number for event in reader] for reader in readers]
    assert whole[0] == whole[1] == whole[2] == list(range(len(whole[0])))


def test_a_cancel_stops_a_response_in_the_background_and_its_provider(client: openai.OpenAI, alpha: Upstream) -> None:
    before = alpha.statistics()
    response_id, _ = begun(client, {**ENDLESS, "seed": 952}, 6, background=True)
    assert client.responses.cancel(response_id).status == "cancelled"
    alpha.wait_for_abort(before)
    assert client.responses.retrieve(response_id).status == "cancelled"


def test_a_response_that_was_deleted_does_not_exist(client: openai.OpenAI) -> None:
    response_id, _ = begun(client, {**QUICK, "seed": 953}, 30)
    client.responses.delete(response_id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response_id)


def test_a_response_that_nobody_has_made_is_not_found(client: openai.OpenAI) -> None:
    for call in (
        lambda: client.responses.retrieve("resp_of_nobody"),
        lambda: client.responses.cancel("resp_of_nobody"),
        lambda: client.responses.create(**ask(QUICK, previous_response_id="resp_of_nobody")),
    ):
        with pytest.raises(openai.NotFoundError):
            call()


def test_a_response_in_the_background_that_is_not_streamed_is_refused(counted: Counted, alpha: Upstream) -> None:
    before = alpha.statistics().requests
    with pytest.raises(openai.BadRequestError) as caught:
        counted.client.responses.create(**ask(QUICK, background=True))
    assert caught.value.param == "background"
    assert alpha.statistics().requests == before
