"""The last errors of upstreams: one row a kind, the newest first, and never more than a page can show."""

from gateway.routing.last_errors import MAX_ROWS, FailedAttempt, LastErrors


def failed(upstream: str = "alpha", status: int | None = 503, request_id: str = "r") -> FailedAttempt:
    return FailedAttempt(upstream, "m", "upstream_error", status, "HTTP", request_id)


def rows(errors: LastErrors) -> list[tuple[object, ...]]:
    return [tuple(row[name] for name in ("upstream", "status", "count", "at")) for row in errors.as_json()]


def test_failures_of_one_kind_are_one_row_with_the_last_request() -> None:
    errors = LastErrors()
    errors.add(failed(request_id="r1"), 1.0)
    errors.add(failed(request_id="r2"), 2.0)
    assert errors.as_json() == [
        {
            "upstream": "alpha",
            "model": "m",
            "outcome": "upstream_error",
            "status": 503,
            "reason": "HTTP",
            "count": 2,
            "at": 2.0,
            "request_id": "r2",
        }
    ]


def test_the_newest_kind_is_first_whatever_its_upstream() -> None:
    errors = LastErrors()
    errors.add(failed(status=500), 1.0)
    errors.add(failed("beta", None), 2.0)
    errors.add(failed(status=503), 3.0)
    errors.add(failed(status=500), 4.0)
    assert rows(errors) == [("alpha", 500, 2, 4.0), ("alpha", 503, 1, 3.0), ("beta", None, 1, 2.0)]


def test_an_upstream_keeps_its_newest_kinds() -> None:
    errors = LastErrors()
    errors.add(failed("beta"), 0.0)
    for status in range(500, 500 + MAX_ROWS + 1):
        errors.add(failed(status=status), float(status))
    kept = [row[1] for row in rows(errors) if row[0] == "alpha"]
    assert kept == list(range(500 + MAX_ROWS, 500, -1))
    assert ("beta", 503, 1, 0.0) in rows(errors)


def test_upstreams_that_are_gone_are_forgotten() -> None:
    errors = LastErrors()
    errors.add(failed("alpha"), 1.0)
    errors.add(failed("beta"), 2.0)
    errors.keep({"beta": object()})
    assert [row[0] for row in rows(errors)] == ["beta"]
