"""The one error for several failures: what may pass decides, and nobody's words are lost."""

import pytest

from gateway.errors import (
    RateLimited,
    RivergateError,
    UpstreamCredentialRefused,
    UpstreamError,
    UpstreamOutOfCredit,
    UpstreamTimeout,
    UpstreamUnable,
)
from gateway.routing.verdict import Failure, verdict


def unable(status: int, quoted: str) -> UpstreamUnable:
    error = UpstreamUnable(f"cannot ({status})", quoted=quoted)
    error.answered_with(status)
    return error


DOWN = UpstreamError("HTTP 500", quoted="oops")
LIMITED = RateLimited("over its limit", quoted="slow down", retry_after=7)
REFUSED = UpstreamCredentialRefused("refused")
EMPTY = UpstreamOutOfCredit("no credit")
LATE = UpstreamTimeout("late")


@pytest.mark.parametrize(
    ("errors", "status", "retryable"),
    [
        ([DOWN, LIMITED], 502, True),
        ([REFUSED, LIMITED], 429, True),
        ([EMPTY, LATE], 504, True),
        ([REFUSED, EMPTY], 502, False),
        ([unable(404, "a"), unable(402, "b")], 404, False),
        ([unable(402, "a"), unable(404, "b")], 402, False),
        ([unable(404, "a"), REFUSED], 502, False),
        ([unable(404, "a"), DOWN], 502, True),
        ([unable(404, "a"), LIMITED], 429, True),
    ],
)
def test_what_may_pass_decides(errors: list[RivergateError], status: int, retryable: bool) -> None:
    told = verdict([Failure(f"u{number}", error) for number, error in enumerate(errors)], len(errors))
    assert (told.status, told.retryable) == (status, retryable)


def test_a_single_failure_is_the_verdict() -> None:
    assert verdict([Failure("a", DOWN)], 1) is DOWN


def test_the_words_of_all_are_told_behind_their_names() -> None:
    told = verdict([Failure("a", unable(404, "no images")), Failure("b", unable(402, "no credits"))], 2)
    assert told.message == "a: no images; b: no credits"
    assert told.reason == "all 2 upstreams failed: a: cannot (404); b: cannot (402)"


def test_words_that_only_one_has_said_need_no_name() -> None:
    told = verdict([Failure("a", REFUSED), Failure("b", DOWN)], 2)
    assert told.message == "all 2 upstreams failed: a: refused; b: HTTP 500: oops"


def test_the_newest_details_are_kept() -> None:
    first, second = unable(404, "x"), unable(404, "y")
    first.quote_details({"metadata": 1})
    second.quote_details({"metadata": 2})
    assert verdict([Failure("a", first), Failure("b", second)], 2).envelope()["error"]["metadata"] == 2
