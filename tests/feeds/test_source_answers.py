"""What the answer of a source means for the next connections."""

import pytest

from gateway.feeds.source_answers import Verdict, verdict_of, wait_of

EVENTS = {"content-type": "text/event-stream"}
ELSEWHERE = {"location": "/x"}


@pytest.mark.parametrize(
    ("status", "headers", "with_id", "verdict"),
    [
        (200, EVENTS, False, Verdict.EVENTS),
        (200, {"content-type": "text/html"}, True, Verdict.REFUSED),
        (200, {}, False, Verdict.REFUSED),
        (204, {}, True, Verdict.END),
        (205, EVENTS, False, Verdict.REFUSED),
        (301, ELSEWHERE, False, Verdict.ELSEWHERE),
        (303, ELSEWHERE, False, Verdict.ELSEWHERE),
        (308, ELSEWHERE, True, Verdict.ELSEWHERE),
        (304, ELSEWHERE, False, Verdict.REFUSED),
        (302, {}, False, Verdict.REFUSED),
        *((status, {}, True, Verdict.UNKNOWN_ID) for status in (400, 409, 410, 413, 416, 422, 431)),
        *((status, {}, False, Verdict.REFUSED) for status in (400, 401, 403, 404, 410, 431, 451)),
        *((status, {}, True, Verdict.REFUSED) for status in (401, 403, 404)),
        *((status, {}, True, Verdict.FAILED) for status in (408, 425, 429, 500, 502, 503, 504, 529)),
    ],
)
def test_an_answer_is_events_or_says_what_to_do(
    status: int, headers: dict[str, str], with_id: bool, verdict: Verdict
) -> None:
    assert verdict_of(status, headers, with_id=with_id) is verdict


@pytest.mark.parametrize(("headers", "seconds"), [({}, 0), ({"retry-after": "7"}, 7), ({"retry-after": "soon"}, 0)])
def test_the_pause_that_a_source_asks_for_is_known(headers: dict[str, str], seconds: float) -> None:
    assert wait_of(503, headers, 1_000_000.0) == seconds
