"""The words of `rivergate top` for a distribution."""

import pytest

from gateway.commands.top_tables import summary

BOUNDS = (10, 20, 50)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ([0, 0, 0, 0], "none yet"),
        ([0, 1, 0, 0], "1 completion: within 20 ms"),
        ([0, 0, 0, 1], "1 completion: over 50 ms"),
        ([1, 1, 0, 0], "2 completions: half within 10 ms, 95 % within 20 ms"),
        ([10, 80, 8, 2], "100 completions: half within 20 ms, 95 % within 50 ms"),
    ],
)
def test_a_distribution_is_told_in_one_sentence(counts: list[int], words: str) -> None:
    assert summary(BOUNDS, counts) == words
