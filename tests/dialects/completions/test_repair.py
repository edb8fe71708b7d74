"""What lax upstreams leave out is added, so that strict clients accept every event and every whole completion."""

from typing import Any

import pytest

from gateway.dialects.choices.envelope import MAX_CHOICES, SharedMembers
from gateway.dialects.completions.repair import repair_completion, repair_event
from tests.dialects.completions.answers import block, conforming, event, reader

LAX: dict[str, dict[str, Any]] = {
    "no id": {"id": None},
    "no object": {"object": "chunk"},
    "a time that is no whole number": {"created": 1.5},
    "no model": {"model": None},
    "an error that is null": {"error": None},
    "no index": {"choices": [{"text": "a", "finish_reason": None}]},
    "no finish": {"choices": [{"text": "a", "index": 0}]},
    "an empty finish": {"choices": [{"text": "a", "index": 0, "finish_reason": ""}]},
    "a text that is null": {"choices": [{"text": None, "index": 0, "finish_reason": None}]},
    "a finish beside the choices": {"finish_reason": "stop", "choices": [{"text": "", "index": 0}]},
    "a delta that is null beside the text": {"choices": [{"text": "a", "index": 0, "delta": None, "message": None}]},
}


@pytest.mark.parametrize("members", LAX.values(), ids=LAX)
def test_an_event_is_repaired(members: dict[str, Any]) -> None:
    value = conforming(reader().read(block({**event("a"), **members})).frame)
    assert value["id"] == ("cmpl-own" if "id" in members else "cmpl-1")
    assert value["choices"][0]["finish_reason"] == members.get("finish_reason")


def test_events_share_the_id_of_the_first_one() -> None:
    read = reader()
    for each in (event("a"), event("b", answer_id="other")):
        assert conforming(read.read(block(each)).frame)["id"] == "cmpl-1"


def test_what_conforms_is_not_changed() -> None:
    assert not repair_event(event("a"), SharedMembers("x", 1, "m"))
    assert not repair_completion(event("a", finish="stop"), SharedMembers("x", 1, "m"))


def test_choices_have_a_limit() -> None:
    choice = {"text": "", "index": 0, "finish_reason": None}
    repair_event({"choices": [dict(choice) for _ in range(MAX_CHOICES)]}, SharedMembers("x", 1, "m"))
    with pytest.raises(ValueError, match="more than"):
        repair_event({"choices": [choice] * (MAX_CHOICES + 1)}, SharedMembers("x", 1, "m"))


@pytest.mark.parametrize("choices", [None, {}, [3], [{"message": {"content": "a"}}], [{"text": ["a"]}]])
def test_what_is_no_completion_is_refused(choices: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        repair_completion({"choices": choices}, SharedMembers("x", 1, "m"))
