"""The timeline keeps the newest points of two resolutions, in a memory that does not grow."""

from gateway.observe.timeline import FINE_IN_COARSE, FINE_SECONDS, MAX_MEASURED, POINTS, Timeline


def close(timeline: Timeline, intervals: int, running: float = 0.0) -> None:
    for number in range(intervals):
        timeline.close(1000.0 + FINE_SECONDS * number, running, 2.0 * running)


def test_an_interval_becomes_a_point_with_its_quantiles_and_counts() -> None:
    timeline = Timeline()
    for milliseconds in range(1, 101):
        timeline.on_ttft(float(milliseconds), "a")
    timeline.on_failures(3, "b")
    timeline.on_failures(1)
    timeline.close(1000.0, 7, 350.5)
    timeline.close(1005.0, 6, 0.0)
    fine = timeline.as_json()["fine"]
    assert (fine["seconds"], fine["until"]) == (FINE_SECONDS, 1005.0)
    assert (fine["running"], fine["tokens_per_second"], fine["failures"]) == ([7, 6], [350.5, 0], [1, 0])
    assert fine["upstreams"]["a"]["ttft_p50_ms"] == [51.0, None]
    assert fine["upstreams"]["a"]["ttft_p95_ms"] == [96.0, None]
    assert fine["upstreams"]["a"]["answers"] == [100, 0]
    assert fine["upstreams"]["b"]["failures"] == [3, 0]
    assert timeline.fine.as_json(1)["upstreams"]["a"]["answers"] == [0]


def test_the_newest_points_take_the_place_of_the_oldest() -> None:
    timeline = Timeline()
    for running in range(POINTS + 1):
        timeline.close(0.0, running, 0.0)
    running = timeline.as_json()["fine"]["running"]
    assert (len(running), running[0], running[-1]) == (POINTS, 1, POINTS)


def test_a_coarse_point_has_the_means_and_all_measurements_of_its_fine_points() -> None:
    timeline = Timeline()
    timeline.on_ttft(10.0)
    close(timeline, FINE_IN_COARSE - 1, running=1.0)
    assert timeline.as_json()["coarse"]["running"] == []
    timeline.on_ttft(30.0)
    close(timeline, 1, running=FINE_IN_COARSE + 1.0)
    coarse = timeline.as_json()["coarse"]
    assert coarse["seconds"] == FINE_SECONDS * FINE_IN_COARSE
    assert (coarse["running"], coarse["answers"], coarse["ttft_p95_ms"]) == ([2.0], [2], [30.0])


def test_intervals_in_which_the_process_stood_still_are_left_out() -> None:
    timeline = Timeline()
    timeline.close(1000.0, 1, 1.0)
    timeline.close(1000.0 + 3 * FINE_SECONDS, 2, 1.0, skipped=2)
    assert timeline.as_json()["fine"]["running"] == [1, None, None, 2]
    timeline.close(1e9, 3, 1.0, skipped=10**9)
    assert timeline.as_json()["fine"]["running"][-2:] == [None, 3]


def test_of_many_measurements_the_first_ones_stand_for_all_and_every_one_counts() -> None:
    timeline = Timeline()
    for _ in range(MAX_MEASURED):
        timeline.on_ttft(1.0)
    timeline.on_ttft(9.0)
    timeline.close(0.0, 0, 0.0)
    fine = timeline.as_json()["fine"]
    assert (fine["answers"], fine["ttft_p95_ms"]) == ([MAX_MEASURED + 1], [1.0])


def test_upstreams_that_are_gone_are_forgotten() -> None:
    timeline = Timeline()
    timeline.on_failures(1, "a")
    timeline.on_failures(1, "b")
    timeline.keep({"b"})
    timeline.close(0.0, 0, 0.0)
    assert list(timeline.as_json()["fine"]["upstreams"]) == ["b"]


def test_the_quantiles_of_the_last_minute_are_those_of_its_measurements() -> None:
    timeline = Timeline()
    assert timeline.last_minute() == {"p50_ms": None, "p95_ms": None}
    timeline.on_ttft(900.0)
    timeline.close(0.0, 0, 0.0)
    for milliseconds in range(1, 101):
        timeline.on_ttft(float(milliseconds))
        close(timeline, milliseconds % 10 == 0)
    assert timeline.last_minute() == {"p50_ms": 51.0, "p95_ms": 96.0}
    close(timeline, 12)
    assert timeline.last_minute() == {"p50_ms": None, "p95_ms": None}
