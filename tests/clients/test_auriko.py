"""Auriko's own SDK, sync and async, and the one error envelope that it understands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.kit.completions import CLIENT_KEY, ENDLESS, MODEL, QUICK, ask, text
from tests.kit.gateway import Gateway
from tests.kit.sdks import LazyModule
from tests.kit.upstreams import Upstream

if TYPE_CHECKING:
    import auriko
    import httpx
else:
    auriko = LazyModule("auriko")
    httpx = LazyModule("httpx")

WHOLE_TEXT = text(8)


def transport(client: auriko.Client | auriko.AsyncClient) -> Any:
    """The HTTP client inside: the SDK has no other way to add a header or to count the tries."""
    return client._httpx  # noqa: SLF001


@pytest.fixture
def client(gateway: Gateway) -> Iterator[auriko.Client]:
    client = auriko.Client(api_key=CLIENT_KEY, base_url=gateway.url)
    yield client
    transport(client).close()


@pytest.fixture
async def aclient(gateway: Gateway) -> AsyncIterator[auriko.AsyncClient]:
    client = auriko.AsyncClient(api_key=CLIENT_KEY, base_url=gateway.url)
    yield client
    await transport(client).aclose()


@pytest.fixture
def tries(client: auriko.Client) -> list[object]:
    """The requests that the client has sent, retries included."""
    sent: list[object] = []
    transport(client).event_hooks = {"request": [], "response": [sent.append]}
    return sent


def read(stream: Any) -> str:
    return "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices)


def test_a_stream_ends_with_usage_and_routing_metadata(client: auriko.Client, gateway: Gateway) -> None:
    stream = client.chat.completions.create(**ask(QUICK, stream=True))
    assert stream.usage is None
    assert read(stream) == WHOLE_TEXT
    usage: Any = stream.usage
    assert usage.completion_tokens == 8
    metadata = stream.routing_metadata
    assert isinstance(metadata, auriko.route_types.RoutingMetadata)
    assert (metadata.provider, metadata.provider_model_id, metadata.model_canonical) == (
        "alpha",
        "gpt-4o-2024",
        MODEL,
    )
    assert metadata.cost is not None
    assert metadata.cost.usd > 0
    assert metadata.ttft_ms is not None
    assert metadata.model_extra is not None
    assert metadata.model_extra["total_latency_ms"] >= metadata.ttft_ms
    assert [attempt["upstream"] for attempt in metadata.model_extra["attempts"]] == ["alpha"]
    assert stream.response_headers.request_id.startswith("req_")
    assert stream.response_headers.get("X-Upstream") == "alpha"


def test_the_request_id_is_there_before_the_first_chunk(client: auriko.Client) -> None:
    stream = client.chat.completions.create(**ask({**QUICK, "gap_ms": 20}, stream=True))
    assert stream.response_headers.request_id.startswith("req_")
    stream.close()


async def test_a_stream_ends_with_usage_and_routing_metadata_async(aclient: auriko.AsyncClient) -> None:
    stream = await aclient.chat.completions.create(**ask(QUICK, stream=True))
    texts = [choice.delta.content or "" async for chunk in stream for choice in chunk.choices]
    assert "".join(texts) == WHOLE_TEXT
    assert stream.usage.total_tokens == stream.usage.prompt_tokens + 8
    assert stream.routing_metadata.provider == "alpha"
    assert stream.response_headers.request_id.startswith("req_")


def test_an_answer_that_is_not_streamed_has_usage_and_routing_metadata(client: auriko.Client) -> None:
    completion = client.chat.completions.create(**ask(QUICK))
    assert completion.choices[0].message.content == WHOLE_TEXT
    assert completion.usage.completion_tokens == 8
    assert isinstance(completion.routing_metadata, auriko.route_types.RoutingMetadata)
    assert completion.routing_metadata.cost.usd > 0


async def test_an_answer_that_is_not_streamed_has_usage_and_routing_metadata_async(
    aclient: auriko.AsyncClient,
) -> None:
    completion = await aclient.chat.completions.create(**ask(QUICK))
    assert completion.choices[0].message.content == WHOLE_TEXT
    assert completion.routing_metadata.provider == "alpha"


LAX = {
    "omit": ["created", "model", "index", "finish_reason", "role", "id", "object"],
    "usage": "null_everywhere",
    "error_null": True,
    "line_end": "\r\n",
    "space": False,
    "comments": 2,
    "bom": True,
    "event_names": True,
}


@pytest.mark.parametrize(
    "lax",
    [
        LAX,
        {"unicode_separators": True},
        {"pretty": True, "finish_in_delta": True},
        {"tool_calls": 2, "null_types": True},
        {"split": 7},
        {"reasoning_tokens": 3},
        {"line_end": "\r", "body": "close", "done": False},
    ],
)
def test_the_strict_client_accepts_what_lax_providers_send(client: auriko.Client, lax: dict[str, Any]) -> None:
    stream = client.chat.completions.create(**ask({**QUICK, **lax}, stream=True))
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] in ("stop", "tool_calls")
    assert len({chunk.id for chunk in chunks}) == 1
    assert stream.usage is not None
    assert stream.routing_metadata is not None
    if "unicode_separators" in lax:
        assert "\u2028" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


@pytest.mark.parametrize("place", ["gateway", "typed", "top level", "alias"])
def test_routing_options_are_accepted_in_every_place_they_were_ever_documented(
    client: auriko.Client, place: str
) -> None:
    options = {"optimize": "ttft", "max_ttft_ms": 60_000}
    request = ask(QUICK, stream=True)
    if place == "gateway":
        request["gateway"] = {"routing": options}
    elif place == "typed":
        request["gateway"] = {
            "routing": auriko.route_types.RoutingOptions(**options).model_dump(exclude_none=True, mode="json")
        }
    elif place == "top level":
        request["extra_body"]["routing"] = options
    else:
        request["extra_body"]["routing"] = {**options, "optimize": "speed"}
    stream = client.chat.completions.create(**request)
    assert read(stream) == WHOLE_TEXT
    assert stream.routing_metadata.provider == "alpha"


def test_the_models_of_the_extension_are_tried_in_place_of_the_model(client: auriko.Client) -> None:
    request = ask(QUICK, stream=True, gateway={"models": [MODEL, "gpt-4o"]})
    del request["model"]
    assert read(client.chat.completions.create(**request)) == WHOLE_TEXT


def test_usage_on_the_finish_chunk_serves_the_client_and_loops_that_do_not_guard(client: auriko.Client) -> None:
    transport(client).headers["X-Usage-Event"] = "finish"
    stream = client.chat.completions.create(**ask(QUICK, stream=True))
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == WHOLE_TEXT
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert stream.usage.completion_tokens == 8
    assert stream.routing_metadata.provider == "alpha"


def test_streams_that_are_left_right_after_the_end_are_completed_and_not_aborted(
    client: auriko.Client, gateway: Gateway, alpha: Upstream
) -> None:
    before = alpha.statistics()
    for _ in range(3):
        stream = client.chat.completions.create(**ask(QUICK, stream=True))
        assert read(stream) == WHOLE_TEXT
        assert gateway.ending(stream.response_headers.request_id)["ending"] == "completed"
    assert alpha.statistics().aborted == before.aborted
    assert alpha.statistics().connections_accepted <= before.connections_accepted + 1


async def test_streams_that_are_left_right_after_the_end_are_completed_async(
    aclient: auriko.AsyncClient, gateway: Gateway, alpha: Upstream
) -> None:
    before = alpha.statistics()
    for _ in range(3):
        stream = await aclient.chat.completions.create(**ask(QUICK, stream=True))
        async for _ in stream:
            pass
        assert gateway.ending(stream.response_headers.request_id)["ending"] == "completed"
    assert alpha.statistics().aborted == before.aborted


def test_a_close_aborts_the_provider(client: auriko.Client, alpha: Upstream, gateway: Gateway) -> None:
    before = alpha.statistics()
    stream = client.chat.completions.create(**ask(ENDLESS, stream=True))
    next(iter(stream))
    stream.close()
    alpha.wait_for_abort(before)
    assert gateway.ending(stream.response_headers.request_id)["ending"] == "abandoned"


def test_a_break_aborts_the_provider(client: auriko.Client, alpha: Upstream) -> None:
    before = alpha.statistics()
    for _ in client.chat.completions.create(**ask(ENDLESS, stream=True)):
        break
    alpha.wait_for_abort(before)


async def test_a_close_aborts_the_provider_async(aclient: auriko.AsyncClient, alpha: Upstream) -> None:
    before = alpha.statistics()
    async with await aclient.chat.completions.create(**ask(ENDLESS, stream=True)) as stream:
        async for _ in stream:
            break
    alpha.wait_for_abort(before)


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    ("request_fields", "behaviour", "error", "status", "code", "sent"),
    [
        ({"model": "no-such-model"}, QUICK, auriko.NotFoundError, 404, "model_not_found", 1),
        ({"messages": []}, QUICK, auriko.BadRequestError, 400, "invalid_parameter_value", 1),
        ({}, {"status": 400}, auriko.BadRequestError, 400, None, 1),
        ({"user": "x" * 4_300_000}, QUICK, auriko.BadRequestError, 413, "payload_too_large", 1),
        ({}, {"status": 429, "retry_after": 1}, auriko.RateLimitError, 429, "rate_limit_exceeded", 3),
        ({}, {"status": 500}, auriko.APIStatusError, 502, "upstream_error", 3),
    ],
    ids=["404", "400", "provider 400", "413", "provider 429", "provider 500"],
)
def test_an_error_has_the_right_class_and_number_of_tries(
    client: auriko.Client,
    tries: list[object],
    streamed: bool,
    request_fields: dict[str, Any],
    behaviour: dict[str, Any],
    error: type[auriko.AurikoAPIError],
    status: int,
    code: str | None,
    sent: int,
) -> None:
    with pytest.raises(auriko.AurikoAPIError) as caught:
        client.chat.completions.create(**ask(behaviour, stream=streamed, **request_fields))
    assert type(caught.value) is error
    assert caught.value.status_code == status
    assert caught.value.code != "malformed_response"
    assert code is None or caught.value.code == code
    assert caught.value.request_id.startswith("req_")
    assert len(tries) == sent
    if status == 429:
        assert caught.value.retry_after_seconds == 1


def test_an_error_after_content_is_told_in_the_stream_with_its_code(
    client: auriko.Client, tries: list[object]
) -> None:
    seen = []
    with pytest.raises(auriko.APIStatusError) as caught:
        seen.extend(client.chat.completions.create(**ask({**QUICK, "error_after": 3}, stream=True)))
    assert (caught.value.status_code, caught.value.code) == (200, "upstream_error")
    assert len(seen) == 4
    assert len(tries) == 1


def test_models_are_listed_and_found_by_an_id_with_a_raw_slash(client: auriko.Client) -> None:
    assert MODEL in {model.id for model in client.models.list().data}
    found = client.models.retrieve(MODEL)
    assert found.id == MODEL
    assert found.providers[0].name == "alpha"
    with pytest.raises(auriko.NotFoundError):
        client.models.retrieve("no/such/model")


async def test_the_client_for_frameworks_captures_the_routing_metadata(gateway: Gateway) -> None:
    # Not streamed: with the OpenAI SDK of today this client cannot stream from any server.
    async with auriko.AurikoAsyncOpenAI(api_key=CLIENT_KEY, base_url=gateway.url) as client:
        await client.chat.completions.create(**ask(QUICK))
        assert client.last_routing_metadata is not None
        assert client.last_routing_metadata.provider == "alpha"
