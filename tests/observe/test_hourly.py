"""The sums of the last hours by model and key."""

from gateway.observe.hourly import HOUR_SECONDS, HOURS, MAX_GROUPS, HourlyUsage, UsedByKey

NOW = 100 * HOUR_SECONDS


def test_completions_of_one_hour_model_and_key_are_one_row() -> None:
    hourly = HourlyUsage()
    hourly.add(UsedByKey(NOW + 1, "m", "k1", 10, 20, 1_500_000))
    hourly.add(UsedByKey(NOW + 3599, "m", "k1", 1, 2, 500_000))
    hourly.add(UsedByKey(NOW - 1, "m", None, 5, 6, 0))
    before, now = hourly.as_json(NOW + 10)
    assert (before["hour"], before["key"], before["requests"]) == (NOW - HOUR_SECONDS, None, 1)
    assert (now["hour"], now["model"], now["key"], now["requests"]) == (NOW, "m", "k1", 2)
    assert (now["prompt_tokens"], now["completion_tokens"], now["cost_usd"]) == (11, 22, 2.0)


def test_a_day_is_kept_and_what_is_older_is_not_shown() -> None:
    hourly = HourlyUsage()
    for hour in range(HOURS + 1):
        hourly.add(UsedByKey(NOW + hour * HOUR_SECONDS, "m", None, 1, 1, 1))
    assert [row["hour"] for row in hourly.as_json(NOW + HOURS * HOUR_SECONDS)] == [
        NOW + hour * HOUR_SECONDS for hour in range(1, HOURS + 1)
    ]
    assert hourly.as_json(NOW + 2 * HOURS * HOUR_SECONDS) == []


def test_what_is_beyond_the_groups_of_an_hour_is_one_row_without_names() -> None:
    hourly = HourlyUsage()
    for number in range(MAX_GROUPS + 5):
        hourly.add(UsedByKey(NOW, f"m{number}", "k", 1, 1, 1))
    rows = hourly.as_json(NOW)
    assert len(rows) == MAX_GROUPS + 1
    assert (rows[-1]["model"], rows[-1]["key"], rows[-1]["requests"]) == (None, None, 5)
