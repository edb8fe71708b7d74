"""Rounds and turns: their labels, their order, and who is taken out."""

from bench.kit.command import Given, Turns, rounds
from bench.kit.script import BrokenStream


def test_a_round_is_told_with_the_number_of_rounds() -> None:
    assert list(rounds(Given(rounds=3))) == ["round 1/3", "round 2/3", "round 3/3"]


def test_who_fails_is_noted_with_the_step_and_has_no_further_turn() -> None:
    had: list[tuple[str, int]] = []

    def turn(name: str, number: int) -> None:
        had.append((name, number))
        if (name, number) == ("b", 1):
            raise BrokenStream("event 3 differs")

    turns = Turns[str]("round 1/1", {}, {name: name for name in "abc"})
    turns.take("warm-up", turn, 1)
    turns.reverse()
    turns.take("burst", turn, number=2)
    assert had == [("a", 1), ("b", 1), ("c", 1), ("c", 2), ("a", 2)]
    assert turns.failures == {"b": "round 1/1: warm-up: event 3 differs"}
