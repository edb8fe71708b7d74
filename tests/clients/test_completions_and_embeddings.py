"""The OpenAI SDK for Python on text completions and embeddings, as its users write it."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.kit.completions import CLIENT_KEY, ENDLESS, MODEL, PROMPT, QUICK, UPSTREAM_KEY, text
from tests.kit.configuration import KEYS, ORDERED, Served
from tests.kit.dialects import speaking
from tests.kit.gateway import LocalGateway
from tests.kit.sdks import LazyModule
from tests.kit.upstreams import ClosedPort, Upstream

if TYPE_CHECKING:
    import openai
else:
    openai = LazyModule("openai")

WHOLE_TEXT = text(8)
TEXTS = ["the river", "the weir"]


def ask(simulate: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "prompt": PROMPT, "extra_body": {"simulate": simulate}, **fields}


def embed(simulate: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "input": TEXTS, "extra_body": {"simulate": simulate or {}}, **fields}


@pytest.fixture(scope="module")
def gateway(logs: Path, alpha: Upstream, frail_all_session: Upstream) -> Iterator[LocalGateway]:
    """A gateway whose upstreams speak both dialects; the first one of each pair cannot be reached, or fails."""
    gone = ClosedPort()
    served: Served = [
        (gone, ["unreachable"]),
        (frail_all_session, ["pair"]),
        (alpha, [MODEL, "pair", "unreachable"]),
    ]
    gateway = LocalGateway(logs, speaking(served, ORDERED), KEYS)
    try:
        yield gateway
    finally:
        gateway.close()
        gone.close()


@pytest.fixture
def client(gateway: LocalGateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.url, api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


class TestCompletions:
    def test_a_streamed_completion_arrives_whole_and_in_order(self, client: openai.OpenAI) -> None:
        chunks = list(client.completions.create(**ask(QUICK, stream=True)))
        assert "".join(chunk.choices[0].text for chunk in chunks) == WHOLE_TEXT
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert len({chunk.id for chunk in chunks}) == 1
        assert {chunk.object for chunk in chunks} == {"text_completion"}
        assert all(chunk.usage is None for chunk in chunks)

    async def test_the_asynchronous_client_reads_it_too(self, gateway: LocalGateway) -> None:
        async with openai.AsyncOpenAI(base_url=gateway.url, api_key=CLIENT_KEY) as client:
            stream = await client.completions.create(**ask(QUICK, stream=True))
            assert "".join([chunk.choices[0].text async for chunk in stream]) == WHOLE_TEXT
            whole = await client.completions.create(**ask(QUICK))
            assert whole.choices[0].text == WHOLE_TEXT

    def test_usage_comes_last_and_alone_if_it_was_asked_for(
        self, client: openai.OpenAI, gateway: LocalGateway
    ) -> None:
        chunks = list(client.completions.create(**ask(QUICK, stream=True, stream_options={"include_usage": True})))
        assert (chunks[-1].choices, chunks[-1].id) == ([], chunks[0].id)
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == 8
        assert all(chunk.usage is None for chunk in chunks[:-1])

    def test_usage_rides_on_the_finish_if_the_header_says_so(self, client: openai.OpenAI) -> None:
        headers = {"X-Usage-Event": "finish"}
        chunks = list(client.completions.create(**ask(QUICK, stream=True), extra_headers=headers))
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert chunks[-1].usage is not None

    def test_a_whole_completion_has_usage_and_tells_who_answered(
        self, client: openai.OpenAI, gateway: LocalGateway, alpha: Upstream
    ) -> None:
        answer = client.completions.with_raw_response.create(**ask(QUICK))
        whole = answer.parse()
        assert (whole.choices[0].text, whole.choices[0].finish_reason) == (WHOLE_TEXT, "stop")
        assert whole.usage is not None
        assert whole.usage.completion_tokens == 8
        assert answer.headers["x-upstream"] == "alpha"
        ended = gateway.ending(answer.headers["x-request-id"])
        assert (ended["completion_tokens"], ended["usage_estimated"]) == (8, False)
        seen = alpha.statistics().last_request
        assert seen is not None
        assert (seen["body"]["model"], seen["body"]["prompt"]) == ("gpt-4o-2024", PROMPT)
        assert seen["headers"]["authorization"] == f"Bearer {UPSTREAM_KEY}"

    @pytest.mark.parametrize("prompt", [["a", "b"], [[1, 2], [3]]])
    def test_every_prompt_has_its_answers(self, client: openai.OpenAI, prompt: Any) -> None:
        whole = client.completions.create(**ask(QUICK, prompt=prompt, n=2))
        assert [choice.text for choice in whole.choices] == [WHOLE_TEXT] * 4
        texts = [""] * 4
        for chunk in client.completions.create(**ask(QUICK, prompt=prompt, n=2, stream=True)):
            for choice in chunk.choices:
                texts[choice.index] += choice.text
        assert texts == [WHOLE_TEXT] * 4

    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize("model", ["pair", "unreachable"])
    def test_another_upstream_answers_for_one_that_fails(
        self, client: openai.OpenAI, frail: Upstream, model: str, stream: bool
    ) -> None:
        frail.follow(status=500)
        answer = client.completions.with_raw_response.create(**{**ask(QUICK, stream=stream), "model": model})
        assert answer.headers["x-upstream"] == "alpha"
        parsed = answer.parse()
        chunks = list(parsed) if stream else [parsed]
        assert "".join(chunk.choices[0].text for chunk in chunks) == WHOLE_TEXT

    @pytest.mark.parametrize(
        "fault",
        [
            {"error_after": 3},
            {"reset_after": 3},
            {"cut_after": 3},
            {"close_after": 3, "finish": False, "done": False},
        ],
        ids=lambda fault: next(iter(fault)),
    )
    def test_a_stream_that_breaks_off_is_an_error_behind_its_tokens(
        self, client: openai.OpenAI, fault: dict[str, Any]
    ) -> None:
        tokens: list[str] = []
        stream = client.completions.create(**ask({**QUICK, **fault}, stream=True))
        with pytest.raises(openai.APIError) as caught:
            tokens.extend(chunk.choices[0].text for chunk in stream)
        assert "".join(tokens) == text(3)
        assert caught.value.code == "upstream_error"

    @pytest.mark.parametrize(
        ("simulate", "status", "code"),
        [({"status": 500}, 502, "upstream_error"), ({"error_first": True}, 502, "upstream_error")],
    )
    def test_a_failure_before_the_first_token_is_a_status(
        self, client: openai.OpenAI, simulate: dict[str, Any], status: int, code: str
    ) -> None:
        with pytest.raises(openai.APIStatusError) as caught:
            client.completions.create(**ask({**QUICK, **simulate}, stream=True))
        assert (caught.value.status_code, caught.value.code) == (status, code)

    def test_leaving_the_loop_aborts_the_provider(self, client: openai.OpenAI, alpha: Upstream) -> None:
        before = alpha.statistics()
        with client.completions.create(**ask(ENDLESS, stream=True)) as stream:
            for count, _ in enumerate(stream):
                if count == 3:
                    break
        alpha.wait_for_abort(before)

    def test_a_body_without_a_prompt_is_refused_and_names_it(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            client.post("/completions", cast_to=object, body={"model": MODEL, "messages": []})
        assert caught.value.param == "prompt"


class TestEmbeddings:
    @pytest.mark.parametrize("given", [TEXTS, "the river", [1, 2, 3], [[1, 2], [3]]])
    def test_every_text_has_a_vector(self, client: openai.OpenAI, given: Any) -> None:
        answer = client.embeddings.create(**embed(input=given))
        assert [each.index for each in answer.data] == list(range(len(answer.data)))
        assert len(answer.data) == (2 if given in (TEXTS, [[1, 2], [3]]) else 1)
        assert all(len(each.embedding) == 8 for each in answer.data)
        assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0

    def test_a_vector_in_base64_is_untouched(self, client: openai.OpenAI) -> None:
        numbers = client.embeddings.create(**embed(encoding_format="float", dimensions=256)).data
        encoded = client.embeddings.create(**embed(encoding_format="base64", dimensions=256)).data
        decoded = [struct.unpack("<256f", base64.b64decode(str(each.embedding))) for each in encoded]
        assert [list(vector) for vector in decoded] == [each.embedding for each in numbers]

    async def test_the_asynchronous_client_reads_a_long_answer(self, gateway: LocalGateway) -> None:
        async with openai.AsyncOpenAI(base_url=gateway.url, api_key=CLIENT_KEY) as client:
            answer = await client.embeddings.create(**embed(input=["a"] * 500, dimensions=1024))
            assert len(answer.data) == 500
            assert len(answer.data[0].embedding) == 1024

    def test_it_is_billed_by_the_tokens_of_the_input(
        self, client: openai.OpenAI, gateway: LocalGateway, alpha: Upstream
    ) -> None:
        answer = client.embeddings.with_raw_response.create(**embed())
        tokens = answer.parse().usage.prompt_tokens
        ended = gateway.ending(answer.headers["x-request-id"])
        assert (ended["prompt_tokens"], ended["completion_tokens"], ended["usage_estimated"]) == (tokens, 0, False)
        assert float(ended["cost_usd"]) == pytest.approx(tokens * 2.5 / 1e6)
        assert answer.headers["x-upstream"] == "alpha"
        seen = alpha.statistics().last_request
        assert seen is not None
        assert (seen["body"]["model"], seen["body"]["input"]) == ("gpt-4o-2024", TEXTS)

    @pytest.mark.parametrize("model", ["pair", "unreachable"])
    def test_another_upstream_answers_for_one_that_fails(
        self, client: openai.OpenAI, frail: Upstream, model: str
    ) -> None:
        frail.follow(status=500)
        answer = client.embeddings.with_raw_response.create(**{**embed(), "model": model})
        assert answer.headers["x-upstream"] == "alpha"
        assert len(answer.parse().data) == 2

    @pytest.mark.parametrize("fault", [{"status": 500}, {"reset_after": 0}, {"cut_after": 0}, {"json_instead": True}])
    def test_a_failure_is_a_status(self, client: openai.OpenAI, fault: dict[str, Any]) -> None:
        with pytest.raises(openai.APIStatusError) as caught:
            client.embeddings.create(**embed(fault))
        assert (caught.value.status_code, caught.value.code) == (502, "upstream_error")

    def test_a_body_without_input_is_refused_and_names_it(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            client.post("/embeddings", cast_to=object, body={"model": MODEL, "prompt": "a"})
        assert caught.value.param == "input"
