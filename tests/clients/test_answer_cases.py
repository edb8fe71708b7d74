"""The answers of `tests/cases/answers.toml`, as users of official SDKs see them: no worse than without a gateway."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.kit.answer_cases import AnswerCase, Seen, read_cases
from tests.kit.completions import CLIENT_KEY, MODEL
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.raw_upstream import RawUpstream
from tests.kit.sdks import LazyModule

openai: Any = LazyModule("openai")
auriko: Any = LazyModule("auriko")

CASES = read_cases()
ASKED = [
    (number, way)
    for number, case in enumerate(CASES)
    for way in (*(("stream", "joined") if case.events else ()), *(("whole",) if case.document else ()))
]
PARTS = ("text", "reasoning", "calls", "finish")
# What SDKs say of an answer that they do not take: content of parts, calls of custom tools, and the lack of a finish
# where all is joined.
REFUSALS = {
    "auriko": ("1 validation error for ChatCompletion", "2 validation errors for ChatCompletion"),
    "openai-6": ("missing choices[0].tool_calls[0].function.name",),
    "joined": ("missing finish_reason for choice",),
}
SDKS = ["openai for Python", "openai", "openai-6", "auriko"]

Pair = tuple[Seen, Seen]  # straight from the upstream, and through the gateway


def answer(request: bytes) -> bytes:
    """The answer of the case whose number stands in `user`."""
    asked = json.loads(request.partition(b"\r\n\r\n")[2])
    return CASES[int(asked["user"])].response(streamed=bool(asked.get("stream")))


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    upstream = RawUpstream(answer, "told")
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: RawUpstream) -> Iterator[LocalGateway]:
    written = configuration([(upstream, [MODEL])], "[routing]\nbreaker_failures = 0\n")
    gateway = LocalGateway(tmp_path_factory.mktemp("sdk"), written, KEYS)
    yield gateway
    gateway.close()


def seen_in(parts: list[dict[str, Any]], error: str | None) -> Seen:
    """What a user sees who joins what the SDK yields, and catches what is raised."""
    seen = Seen(error=error)
    try:
        for part in parts:
            seen.add(part)
    except Exception as problem:  # what cannot be joined fails in the hands of a user
        seen.error = seen.error or f"{type(problem).__name__}: {problem}"
    return seen


def by_python(make: Callable[[str], Any], dump: Callable[[Any], dict[str, Any]], urls: list[str]) -> list[Pair]:
    """All cases as an SDK for Python yields them."""

    def see(client: Any, number: int, way: str) -> Seen:
        parts: list[dict[str, Any]] = []
        asked = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "user": str(number)}
        try:
            if way == "whole":
                parts.append(dump(client.chat.completions.create(**asked)))
            else:
                parts.extend(map(dump, client.chat.completions.create(**asked, stream=True)))
        except Exception as error:  # whatever an SDK lets out is what its user sees
            return seen_in(parts, str(error) or type(error).__name__)
        return seen_in(parts, None)

    straight, through = map(make, urls)
    pairs: list[Pair] = []
    try:
        for asked in ASKED:  # users of these SDKs join a stream themselves, as `Seen` does
            pairs.append(pairs[-1] if asked[1] == "joined" else (see(straight, *asked), see(through, *asked)))
        return pairs
    finally:
        for client in (straight, through):
            getattr(client, "_httpx", client).close()  # Auriko's SDK has no way to close its connections


@pytest.fixture(scope="module", params=SDKS)
def told(request: pytest.FixtureRequest, upstream: RawUpstream, gateway: LocalGateway) -> tuple[str, list[Pair]]:
    """The name of an SDK, and what it yields of all cases."""
    urls, sdk = [upstream.base_url, gateway.url], request.param
    if sdk == "auriko":
        pairs = by_python(
            lambda url: auriko.Client(base_url=url, api_key=CLIENT_KEY, max_retries=0), lambda p: p.model_dump(), urls
        )
    elif sdk == "openai for Python":
        pairs = by_python(
            lambda url: openai.OpenAI(base_url=url, api_key=CLIENT_KEY, max_retries=0),
            lambda part: part.to_dict(warnings=False),
            urls,
        )
    else:
        found = request.getfixturevalue("node")("told_answers.mjs", sdk, json.dumps(ASKED), *urls)
        pairs = [(seen_in(**straight), seen_in(**through)) for straight, through in found]
    return sdk, pairs


def check_no_worse(direct: Seen, through: Seen, expected: dict[str, Any]) -> None:
    """Each part is what the case expects, or else what the user sees without a gateway."""
    assert ("error" in expected) == (through.error is not None), through.error
    assert expected.get("error", "") in (through.error or "")
    for part in PARTS:
        shown, told = through.fields({part: None})[part], direct.fields({part: None})[part]
        if part in expected:
            assert shown in (told, expected[part]), part
        elif direct.error is None and "error" not in expected:
            assert shown == told, part


def name(asked: tuple[int, str]) -> str:
    case: AnswerCase = CASES[asked[0]]
    return f"{asked[1]}: {case.kind} {case.name}"


@pytest.mark.parametrize("place", range(len(ASKED)), ids=map(name, ASKED))
def test_an_answer_is_no_worse_through_the_gateway(told: tuple[str, list[Pair]], place: int) -> None:
    (sdk, pairs), (number, way) = told, ASKED[place]
    straight, through = pairs[place]
    if through.error is not None and through.error.startswith(REFUSALS.get(sdk, ()) + REFUSALS.get(way, ())):
        assert straight.error is not None  # the SDK refuses the answer, whoever sends it
        assert through.fields(dict.fromkeys(PARTS)) == straight.fields(dict.fromkeys(PARTS))
        return
    check_no_worse(straight, through, CASES[number].expected(streamed=way != "whole"))
