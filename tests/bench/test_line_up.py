"""The suite of benches: which belong to it, how some of them are chosen, and what a short run changes."""

import importlib

import pytest

from bench.line_up import ALL, ENTRIES, NAMES, Wish, chosen, options
from bench.report_tables import TABLES
from bench.rows import ROWS


def test_every_row_and_every_table_belongs_to_a_bench_of_the_suite() -> None:
    assert {row.bench for row in ROWS} == set(NAMES) == set(TABLES)


@pytest.mark.parametrize("name", NAMES)
def test_every_bench_can_be_run_alone(name: str) -> None:
    assert callable(importlib.import_module(f"bench.{name}").main)


@pytest.mark.parametrize(("names", "count"), [([], len(NAMES)), ([ALL], len(NAMES)), (["storm", "relay"], 2)])
def test_all_are_chosen_by_name_or_by_none(names: list[str], count: int) -> None:
    assert len(chosen(names)) == count


def test_benches_run_in_the_order_of_the_suite() -> None:
    assert [bench.name for bench in chosen(["fanout", "startup"])] == ["startup", "fanout"]


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_a_short_run_never_changes_the_load(entry: object) -> None:
    [found] = [each for each in ENTRIES if each is entry]
    allowed = {"--rounds", "--seconds", "--requests", "--aborts", "--quiet-seconds"}
    allowed |= {"--slices", "--slice-seconds", "--latency-seconds"}
    assert {word for word in options(found, Wish(quick=True)) if word.startswith("--")} <= allowed


def test_rounds_that_were_asked_for_win_over_those_of_a_short_run() -> None:
    [relay] = chosen(["relay"])
    assert options(relay, Wish(quick=True, rounds=4, litellm="py")) == [
        *relay.quick,
        "--rounds",
        "4",
        "--litellm",
        "py",
    ]
    [storm] = chosen(["storm"])
    assert options(storm, Wish(quick=True, rounds=4, litellm="py")) == []
