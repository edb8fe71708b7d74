"""The answers of `tests/cases/answers.toml`, as users of OpenAI's SDK see them: no worse than without a gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.kit.answer_cases import AnswerCase, Seen, read_cases
from tests.kit.completions import CLIENT_KEY, MODEL
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.raw_upstream import RawUpstream
from tests.kit.sdks import LazyModule

if TYPE_CHECKING:
    import openai
else:
    openai = LazyModule("openai")

CASES = read_cases()
STREAMED = [case for case in CASES if case.events]
WHOLE = [case for case in CASES if case.document]
PARTS = ("text", "reasoning", "calls", "finish")


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


@pytest.fixture(scope="module")
def direct(upstream: RawUpstream) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=upstream.base_url, api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def through(gateway: LocalGateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.url, api_key=CLIENT_KEY, max_retries=0) as client:
        yield client


def seen_by(client: openai.OpenAI, case: AnswerCase, *, stream: bool) -> Seen:
    """What a user of the SDK sees, who joins the deltas and catches what is raised."""
    seen = Seen()
    asked: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    try:
        asked |= {"user": str(CASES.index(case)), "stream": stream}
        answer: Any = client.chat.completions.create(**asked)
        for part in answer if stream else [answer]:
            seen.add(part.to_dict(warnings=False))
    except Exception as error:  # whatever an SDK lets out is what its user sees
        seen.error = str(error) or type(error).__name__
    return seen


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


def name(case: AnswerCase) -> str:
    return f"{case.kind} {case.name}"


@pytest.mark.parametrize("case", STREAMED, ids=name)
def test_a_stream_is_no_worse_through_the_gateway(
    direct: openai.OpenAI, through: openai.OpenAI, case: AnswerCase
) -> None:
    seen = [seen_by(client, case, stream=True) for client in (direct, through)]
    check_no_worse(seen[0], seen[1], case.expected(streamed=True))


@pytest.mark.parametrize("case", WHOLE, ids=name)
def test_a_whole_answer_is_no_worse_through_the_gateway(
    direct: openai.OpenAI, through: openai.OpenAI, case: AnswerCase
) -> None:
    seen = [seen_by(client, case, stream=False) for client in (direct, through)]
    check_no_worse(seen[0], seen[1], case.expected(streamed=False))
