"""The rows of requests that failed: one for each request, and the newest of them only."""

from typing import Any

from gateway.run.recent_failures import MAX_FAILURES, FailedRequest, RecentFailures


def failed(number: int, **more: Any) -> FailedRequest:
    return FailedRequest(float(number), f"req_{number}", "upstream_error")._replace(**more)


def test_the_newest_failures_are_kept_and_can_be_asked_for_from_a_number_on() -> None:
    failures = RecentFailures()
    assert all(failures.add(failed(number)) for number in range(MAX_FAILURES + 1))
    rows = failures.as_json(0, with_keys=True)
    assert (len(rows), rows[0]["request_id"], rows[-1]["request_id"]) == (MAX_FAILURES, "req_100", "req_1")
    [newest] = failures.as_json(failures.count - 1, with_keys=True)
    assert newest["request_id"] == "req_100"
    assert failures.as_json(failures.count, with_keys=True) == []


def test_the_answer_to_a_completion_that_failed_is_no_second_failure_but_tells_its_status() -> None:
    failures = RecentFailures()
    assert failures.add(failed(1, stream="st_1", reason="HTTP 500"))
    assert not failures.add(failed(1, status=502))
    [row] = failures.as_json(0, with_keys=True)
    assert (row["stream"], row["reason"], row["status"], row["number"]) == ("st_1", "HTTP 500", 502, 2)


def test_whose_a_request_was_is_told_only_when_asked_for() -> None:
    failures = RecentFailures()
    failures.add(failed(1, key="key_1"))
    assert failures.as_json(0, with_keys=True)[0]["key"] == "key_1"
    assert "key" not in failures.as_json(0, with_keys=False)[0]
