"""The answers of `answers.toml` through the whole gateway: what the client sees, and what is billed."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kit.answer_cases import AnswerCase, Seen, read_cases
from tests.kit.completions import MODEL, body
from tests.kit.configuration import KEYS, ORDERED, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import Answer, fetch
from tests.kit.raw_upstream import RawUpstream

CASES = read_cases()
STREAMED = [case for case in CASES if case.events]
WHOLE = [case for case in CASES if case.document]
DOLLAR_A_TOKEN = (1e6, 1e6)


def answer(request: bytes) -> bytes:
    """The answer of the case whose number stands in `user`; the other kind of answer if `crossed` is asked for."""
    asked = json.loads(request.partition(b"\r\n\r\n")[2])
    return CASES[int(asked["user"])].response(streamed=bool(asked.get("stream")) != bool(asked.get("crossed")))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGateway]:
    upstream = RawUpstream(answer, "told")
    sections = "[routing]\nbreaker_failures = 0\n"
    written = configuration([(upstream, [MODEL])], sections, {"told": DOLLAR_A_TOKEN})
    gateway = LocalGateway(tmp_path_factory.mktemp("answers"), written, KEYS)
    try:
        yield gateway
    finally:
        gateway.close()
        upstream.close()


def name(case: AnswerCase) -> str:
    return f"{case.kind} {case.name}"


def ask(gateway: LocalGateway, case: AnswerCase, *, stream: bool, crossed: bool = False) -> Answer:
    more: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    return fetch(gateway.port, body(user=str(CASES.index(case)), crossed=crossed, **more))


def seen_of(answer: Answer) -> Seen:
    """What a client sees of an answer, streamed or whole."""
    seen = Seen()
    if answer.status != 200:
        assert answer.status == 502
        seen.error = answer.error()["message"]
    elif answer.headers["content-type"].startswith("text/event-stream"):
        *events, last = answer.events()
        assert last == "[DONE]"
        for event in events:
            if "error" in event:
                seen.error = event["error"]["message"]
            else:
                seen.add(event)
    else:
        seen.add(json.loads(answer.body))
    return seen


def meaning(expected: dict[str, Any]) -> dict[str, Any]:
    """The expectations of what an answer means, without those of its bytes."""
    return {name: value for name, value in expected.items() if name not in ("has", "lacks")}


def check(gateway: LocalGateway, answer: Answer, seen: Seen, expected: dict[str, Any]) -> None:
    assert seen.error is None or "error" in expected, seen.error
    assert expected.get("error", "") in (seen.error or "")
    assert ("error" in expected) == (seen.error is not None)
    if answer.status == 200:
        wanted = {key: value for key, value in expected.items() if key in ("text", "reasoning", "calls", "finish")}
        assert seen.fields(wanted) == wanted
    assert [piece for piece in expected.get("has", ()) if piece.encode() not in answer.body] == []
    assert [piece for piece in expected.get("lacks", ()) if piece.encode() in answer.body] == []
    record = gateway.ending(answer.headers["x-request-id"])
    assert record["ending"] == ("upstream_error" if "error" in expected else "completed")
    if "usage" in expected:
        prompt, completion = expected["usage"]
        assert (record["prompt_tokens"], record["completion_tokens"]) == (prompt, completion)
        assert (record["usage_estimated"], float(record["cost_usd"])) == (False, prompt + completion)
        told = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        assert told.items() <= seen.usage.items()
    if "completion" in expected:
        assert (record["completion_tokens"], record["usage_estimated"]) == (expected["completion"], True)
        assert record["prompt_tokens"] > 0
        assert float(record["cost_usd"]) == record["prompt_tokens"] + record["completion_tokens"]


@pytest.mark.parametrize("case", STREAMED, ids=name)
def test_a_streamed_answer_is_told_as_it_was_meant(gateway: LocalGateway, case: AnswerCase) -> None:
    answer = ask(gateway, case, stream=True)
    check(gateway, answer, seen_of(answer), case.expected(streamed=True))


@pytest.mark.parametrize("case", WHOLE, ids=name)
def test_a_whole_answer_is_told_as_it_was_meant(gateway: LocalGateway, case: AnswerCase) -> None:
    answer = ask(gateway, case, stream=False)
    check(gateway, answer, seen_of(answer), case.expected(streamed=False))


@pytest.mark.parametrize("case", STREAMED, ids=name)
def test_events_in_the_place_of_a_whole_answer_are_joined_to_what_they_mean(
    gateway: LocalGateway, case: AnswerCase
) -> None:
    answer = ask(gateway, case, stream=False, crossed=True)
    check(gateway, answer, seen_of(answer), meaning(case.expected(streamed=bool(case.document))))


@pytest.mark.parametrize("case", WHOLE, ids=name)
def test_a_whole_answer_in_the_place_of_events_is_told_as_it_was_meant(
    gateway: LocalGateway, case: AnswerCase
) -> None:
    answer = ask(gateway, case, stream=True, crossed=True)
    check(gateway, answer, seen_of(answer), meaning(case.expected(streamed=False)))


def test_every_kind_of_case_has_three_neighbours() -> None:
    kinds = [case.kind for case in CASES]
    few = {kind for kind in kinds if kinds.count(kind) < 3}
    assert few == set()
    assert len({name(case) for case in CASES}) == len(CASES)


FAILED = (
    '{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error","error":{"code":502,"message":"no"}}]}'
)


@pytest.mark.parametrize(
    "events",
    [
        (FAILED,),
        ('{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}', FAILED),
        ('{"code":"InternalError","message":"backend died"}',),
        ('{"choices":null,"base_resp":{"status_code":1027,"status_msg":"sensitive"}}',),
        ("event: error\ndata: backend died\n\n",),
    ],
)
def test_an_upstream_that_fails_before_content_is_replaced_by_the_next(
    tmp_path_factory: pytest.TempPathFactory, events: tuple[str, ...]
) -> None:
    good = AnswerCase("", "", ("+Hi", "=stop"))
    upstreams = [
        RawUpstream(lambda request: AnswerCase("", "", events).response(streamed=True), "frail"),
        RawUpstream(lambda request: good.response(streamed=True), "sound"),
    ]
    written = configuration([(upstream, [MODEL]) for upstream in upstreams], ORDERED)
    gateway = LocalGateway(tmp_path_factory.mktemp("fallback"), written, KEYS)
    try:
        answer = fetch(gateway.port, body(stream=True))
        assert (answer.status, answer.headers["x-upstream"], answer.text()) == (200, "sound", "Hi")
    finally:
        gateway.close()
        for upstream in upstreams:
            upstream.close()
