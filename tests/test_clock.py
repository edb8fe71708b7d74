"""Times in the formats of HTTP and of RFC 3339."""

from gateway.clock import http_date, rfc3339


def test_a_date_is_written_as_http_has_it() -> None:
    assert http_date(784111777) == "Sun, 06 Nov 1994 08:49:37 GMT"  # RFC 9110 section 5.6.7


def test_a_time_is_written_in_utc_with_milliseconds() -> None:
    assert rfc3339(784111777.0625) == "1994-11-06T08:49:37.062Z"
