"""Answers by their ids: known to their owner alone, and only the newest."""

import gc

from gateway.stream.answer_ids import MAX_ID_CHARACTERS, AnswerIds, KnownAnswer

ANSWER = KnownAnswer("alpha", "m", "st_1")


def test_an_answer_is_known_to_its_owner_alone() -> None:
    ids = AnswerIds()
    ids.remember("anna", "resp_1", ANSWER)
    ids.remember("bert", "resp_1", ANSWER._replace(upstream="beta"))
    assert ids.find("anna", "resp_1") == ANSWER
    assert ids.find("bert", "resp_1") == ANSWER._replace(upstream="beta")
    assert ids.find("", "resp_1") is None
    ids.forget("anna", "resp_1")
    ids.forget("anna", "resp_1")
    assert ids.find("anna", "resp_1") is None


def test_only_the_newest_answers_are_known() -> None:
    ids = AnswerIds(max_ids=3)
    for number in (1, 2, 3, 1, 4):
        ids.remember("", f"resp_{number}", ANSWER)
    assert [ids.find("", f"resp_{number}") is not None for number in (1, 2, 3, 4)] == [True, False, True, True]
    assert len(ids) == 3


def test_an_id_that_is_too_long_is_not_remembered() -> None:
    ids = AnswerIds()
    ids.remember("", "x" * (MAX_ID_CHARACTERS + 1), ANSWER)
    assert len(ids) == 0


def test_the_collector_does_not_walk_over_what_is_known() -> None:
    ids = AnswerIds()
    for number in range(1000):
        ids.remember("", f"resp_{number}", ANSWER)
    gc.collect()
    assert sum(type(found) is tuple and found == tuple(ANSWER) for found in gc.get_objects()) == 0
