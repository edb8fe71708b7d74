"""Ratios of pairs, their interval, and the checkout that is compared with."""

import argparse
from pathlib import Path

import pytest

from bench.compare import checkout, interval_rank, judged
from bench.kit import machine


@pytest.mark.parametrize(("count", "rank"), [(1, 0), (5, 0), (6, 0), (8, 0), (9, 1), (12, 2), (20, 5), (30, 9)])
def test_the_interval_is_that_of_a_sign_test(count: int, rank: int) -> None:
    assert interval_rank(count) == rank


def test_a_row_is_worse_when_the_median_of_its_ratios_is_beyond_three_percent() -> None:
    row = judged([10.0, 20.0, 30.0], [10.4, 21.0, 30.0])
    assert (row["ratio"], row["worse"]) == (1.04, True)
    assert (row["before"], row["after"]) == (20.0, 21.0)
    assert judged([10.0, 20.0, 30.0], [10.2, 20.0, 30.0])["worse"] is False


def test_few_pairs_are_never_certain_and_many_are_when_the_interval_is_on_one_side() -> None:
    assert judged([1.0] * 5, [1.0] * 5)["verdict"] == "not worse, not certain"
    assert judged([1.0] * 6, [1.0] * 6)["verdict"] == "not worse"
    assert judged([1.0] * 6, [1.1] * 6)["verdict"] == "WORSE by more than 3 %"
    assert judged([1.0] * 6, [1.0, 1.0, 1.1, 1.1, 1.1, 1.1])["verdict"] == "WORSE by more than 3 %, not certain"


def test_the_outermost_of_twenty_pairs_do_not_bound_the_interval() -> None:
    row = judged([1.0] * 20, [0.5, *[1.0] * 18, 9.0])
    assert (row["low"], row["high"], row["verdict"]) == (1.0, 1.0, "not worse")


def test_a_checkout_is_a_folder_whose_own_gateway_is_imported_there(tmp_path: Path) -> None:
    assert checkout(str(machine.ROOT)) == machine.ROOT
    with pytest.raises(argparse.ArgumentTypeError, match="has no gateway package"):
        checkout(str(tmp_path))
