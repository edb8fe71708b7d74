"""The events of a text completion, joined: the document is what a client would have joined itself."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.completions.dialect import COMPLETIONS
from gateway.dialects.dialect import AnswerReport
from gateway.dialects.usage import Usage
from gateway.wire import sse
from tests.dialects.completions.answers import event

USED = Usage(3, 2, estimated=False)


def joined(*events: dict[str, Any], in_steps: bool = False) -> dict[str, Any]:
    joiner = COMPLETIONS.joiner()
    for each in events:
        frame = sse.frame(orjson.dumps(each))
        if in_steps:
            for _ in joiner.add_in_steps(frame):
                pass
        else:
            joiner.add(frame)
    document = joiner.document(lambda prompt_tokens: USED)
    answer: dict[str, Any] = orjson.loads(bytes(document.encode(AnswerReport(USED, {"provider": "x"}))))
    assert (answer["object"], answer["routing_metadata"]) == ("text_completion", {"provider": "x"})
    assert answer["usage"] == USED.as_json()
    return answer


@given(st.lists(st.text(max_size=5), min_size=1), st.booleans())
def test_a_text_in_pieces_is_the_text(pieces: list[str], in_steps: bool) -> None:
    answer = joined(*map(event, pieces), event("", finish="stop"), in_steps=in_steps)
    assert answer["choices"] == [{"text": "".join(pieces), "index": 0, "logprobs": None, "finish_reason": "stop"}]


def test_choices_stand_in_the_order_of_their_indexes() -> None:
    answer = joined(event("b", index=1), event("a"), event("", index=1, finish="length"), event("", finish="stop"))
    assert [(each["text"], each["finish_reason"]) for each in answer["choices"]] == [("a", "stop"), ("b", "length")]


def test_the_probabilities_of_all_tokens_stand_in_one_object() -> None:
    first, second = event("a"), event("b", finish="stop")
    first["choices"][0]["logprobs"] = {"tokens": ["a"], "token_logprobs": [-0.5], "text_offset": [0]}
    second["choices"][0]["logprobs"] = {"tokens": ["b"], "token_logprobs": [None], "text_offset": [1]}
    assert joined(first, second)["choices"][0]["logprobs"] == {
        "tokens": ["a", "b"], "token_logprobs": [-0.5, None], "text_offset": [0, 1],
    }  # fmt: skip
