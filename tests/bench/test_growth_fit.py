"""The fit of growth finds the exponents of known curves, and leaves out points that do not count."""

import pytest

from bench.growth_fit import Point, above_lowest, fits, merged, slope, upper_half


def curve(power: float, fixed: float = 0.0) -> list[Point]:
    return [Point(x, {"cpu": fixed + x**power}, 0.5, 0.5) for x in (1.0, 10.0, 100.0, 500.0, 1000.0, 2000.0)]


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 1.15, 2.0])
def test_the_slope_is_the_power_of_the_curve(power: float) -> None:
    found = fits(curve(power))["cpu"]
    assert found["slope"] == pytest.approx(power)
    assert (found["from"], found["to"]) == (500.0, 2000.0)


def test_a_fixed_cost_does_not_hide_a_square_in_the_upper_half() -> None:
    found = fits(curve(2.0, fixed=10_000.0))["cpu"]["slope"]
    assert found is not None
    assert found > 1.15


def test_a_point_at_which_somebody_was_at_the_end_does_not_count() -> None:
    strained = [
        Point(4000.0, {"cpu": 1e9}, 0.5, 0.99),
        Point(8000.0, {"cpu": 1e9}, 0.99, 0.5, 1.0),
        Point(9000.0, {"cpu": 1e9}, 0.5, 0.5, 0.8),
    ]
    assert [point.strained for point in strained] == ["the load", "the gateway", "the gateway"]
    assert fits([*curve(1.0), *strained])["cpu"]["slope"] == pytest.approx(1.0)


def test_a_gateway_that_is_busy_because_nothing_sets_the_pace_is_not_at_its_end() -> None:
    assert Point(1.0, {}, 1.0, 0.5).strained == ""


def test_three_points_count_when_there_are_four() -> None:
    assert [point.x for point in upper_half(curve(1.0)[:4])] == [10.0, 100.0, 500.0]


def test_too_few_points_have_no_slope() -> None:
    assert slope([(1.0, 2.0)]) is None
    assert slope([(1.0, 2.0), (2.0, 0.0)]) is None
    assert fits([]) == {}


def test_rounds_are_merged_point_by_point() -> None:
    rounds = [[Point(1.0, {"cpu": cost}, cost, 0.1, kept)] for cost, kept in ((1.0, 1.0), (9.0, 0.5), (2.0, 0.9))]
    assert merged(rounds) == [Point(1.0, {"cpu": 2.0}, 2.0, 0.1, 0.9)]


def test_memory_counts_from_the_lowest_that_was_seen() -> None:
    points = [Point(x, {"memory": kib}, 0.0, 0.0) for x, kib in ((1.0, 90.0), (2.0, 150.0))]
    assert [point.costs["memory"] for point in above_lowest(points, "memory", 100.0)] == [0.0, 60.0]
    assert [point.costs["memory"] for point in above_lowest(points, "memory", 50.0)] == [40.0, 100.0]


@pytest.mark.parametrize(("power", "linear"), [(1.0, True), (1.5, False), (2.0, False)])
def test_free_memory_at_the_start_does_not_make_the_rest_look_steep(power: float, linear: bool) -> None:
    causes = (1.0, 10.0, 100.0, 500.0, 1000.0, 1500.0, 2000.0)
    points = [Point(x, {"memory": max(0.0, 44 * x**power - 4400)}, 0.1, 0.1) for x in causes]
    found = fits(points)["memory"]["slope"]
    assert found is not None
    assert (found == pytest.approx(1.0)) if linear else (found > 1.15)
