"""Where figures stand in the JSON of a bench, and how they are shown."""

from typing import Any

from bench.kit.tables import Table, cell, dig, matches, number

REPORT: dict[str, Any] = {
    "sizes": {
        "100": {"peers": {"c": {"us": 1.5}, "gateway": {"us": {"median": 2.0, "low": 1.0, "high": 3.0}}}},
        "1000": {"peers": {"c": {}}, "failures": {}},
    }
}


def test_a_cell_has_the_median_with_the_ends_unless_all_rounds_agree() -> None:
    spreads = [{"median": 2.0, "low": low, "high": high} for low, high in ((1.0, 3.0), (2.0, 2.0))]
    assert [cell(spread, 1) for spread in spreads] == ["2.0 (1.0..3.0)", "2.0"]
    assert [cell(None), cell("met"), cell(0.1234), cell(123456.7), cell(0.5, 0, 100)] == [
        "-",
        "met",
        "0.123",
        "123,457",
        "50",
    ]


def test_a_path_with_stars_finds_every_name_and_what_is_missing_is_none() -> None:
    assert list(matches(REPORT, "sizes.*.peers.*")) == ["100, c", "100, gateway", "1000, c"]
    assert dig(REPORT, "sizes.100.peers.c.us") == 1.5
    assert dig(REPORT, "sizes.100.nobody.us") is None
    assert number(REPORT, "sizes.100.peers.gateway.us") == 2.0
    assert number(REPORT, "sizes.100.peers.*.us") == 2.0
    assert number(REPORT, "sizes.1000.peers.c.us") is None


def test_a_table_has_a_row_for_each_match_and_is_written_in_two_ways() -> None:
    table = Table.of(REPORT, {"first": "size, peer", "rows": "sizes.*.peers.*", "columns": [["us", "us", 1]]})
    assert table.aligned().splitlines()[1:] == [
        "100, c                   1.5",
        "100, gateway  2.0 (1.0..3.0)",
        "1000, c                    -",
    ]
    assert table.markdown().splitlines()[:3] == ["| size, peer | us |", "| --- | ---: |", "| 100, c | 1.5 |"]


def test_figures_without_columns_are_a_table_of_their_own() -> None:
    table = Table.of({"quiet": {"core_share": 0.01}}, {"first": "quiet", "rows": "quiet"})
    assert (table.head, table.rows) == (["quiet", "value"], [["core share", "0.01"]])
    assert Table.of({}, {"first": "quiet", "rows": "quiet"}).rows == []
