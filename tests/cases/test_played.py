"""The simulated provider plays real ones: it refuses what they refuse, and answers as they answer."""

from typing import Any

import orjson
import pytest

from gateway.simulate import usual_script
from gateway.simulate.likeness import LIKENESSES, LikeChat, likeness
from gateway.simulate.plan import plan
from gateway.simulate.steps import Facts, Send

from .cases import cases

GOOD = {"authorization": "Bearer good"}


@pytest.mark.parametrize("case", cases("played_refusals.toml"))
def test_a_wrong_request_gets_the_refusal_of_the_provider(case: dict[str, Any]) -> None:
    like = LikeChat(likeness(case["like"]))
    headers, body = case.get("headers", GOOD), case.get("body", '{"model": "m"}').encode()
    refusal = like.refusal("POST", case.get("path", like.path), case.get("query", ""), headers, body)
    if "status" not in case:
        assert refusal is None
        return
    assert refusal is not None
    assert refusal.status == case["status"]
    assert case["says"] in refusal.encode().decode()


@pytest.mark.parametrize("case", cases("played_answers.toml"))
def test_an_answer_has_the_quirks_of_the_provider(case: dict[str, Any]) -> None:
    streamed = answer(case["like"], stream=True, **case.get("script", {}))
    whole = answer(case["like"], stream=False, **case.get("script", {}))
    assert [text for text in case["streamed"] if text not in streamed] == []
    assert [text for text in case.get("whole", ()) if text not in whole] == []
    assert [text for text in case.get("absent", ()) if text in streamed + whole] == []


@pytest.mark.parametrize("name", LIKENESSES)
def test_a_stream_of_any_likeness_ends_with_a_finish_and_the_terminal(name: str) -> None:
    stream = answer(name, stream=True)
    assert stream.count('"finish_reason":"stop"') == 1
    assert stream.endswith("data: [DONE]\n\n")
    assert stream.index('"role":"assistant"') < stream.index('"finish_reason":"stop"')


@pytest.mark.parametrize("name", LIKENESSES)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
def test_any_error_of_any_likeness_is_json_with_words(name: str, status: int) -> None:
    document = LikeChat(likeness(name)).error_document(status)
    assert len(orjson.dumps(orjson.loads(document))) > 20


def test_the_style_of_a_script_holds_for_a_likeness_too() -> None:
    stream = answer("groq", stream=True, line_end="\r\n", space=False, pretty=True, done=False)
    assert stream.startswith('data:{\r\ndata:  "id": ')
    assert "[DONE]" not in stream


def test_no_provider_of_another_name_can_be_played() -> None:
    with pytest.raises(ValueError, match=r"no provider is called 'grok'; there are: openai, azure, .*litellm"):
        likeness("grok")


def answer(like: str, *, stream: bool, **script: Any) -> str:
    """The bytes of an answer without transfer chunks, the head of a whole one included."""
    told = usual_script(like).replace({"tokens": 3, "body": "close", **script})
    steps = list(plan(told, Facts(stream=stream, prompt=b"[]"), LikeChat(likeness(like))))
    sent = b"".join(step.data for step in steps if isinstance(step, Send)).decode()
    return sent.partition("\r\n\r\n")[2] if stream else sent
