"""Before the first content an upstream has its time for the head, and may then send anything but nothing."""

import pytest

from gateway.errors import UpstreamError
from gateway.upstream.idle_watch import CHECKS
from gateway.upstream.patience import Patience, first_look


def test_a_silent_upstream_is_given_up_at_the_limit_of_its_head() -> None:
    patience = Patience(head=1.0, silence=8.0, connected=10.0)
    wait = patience.look(0, 10.5, has_head=False)
    assert wait == pytest.approx(0.5)
    late = patience.look(0, 11.0, has_head=False)
    assert isinstance(late, UpstreamError)
    assert late.message == "no answer within head_timeout_ms (1000)"


def test_silence_counts_from_the_request_while_nothing_comes() -> None:
    patience = Patience(head=100.0, silence=8.0, connected=10.0)
    assert patience.look(0, 17.5, has_head=False) == pytest.approx(0.5)
    late = patience.look(0, 18.0, has_head=False)
    assert isinstance(late, UpstreamError)
    assert "first_content_timeout_ms (8000)" in late.message


def test_each_read_begins_the_silence_anew() -> None:
    patience = Patience(head=1.0, silence=8.0, connected=0.0)
    for second in range(100):
        assert patience.look(second + 1, float(second), has_head=True) == 1.0
    assert isinstance(patience.look(100, 107.1, has_head=True), UpstreamError)


@pytest.mark.parametrize(("head", "silence", "first"), [(600.0, 600.0, 1.0), (0.1, 600.0, 0.1), (9.0, 0.8, 0.1)])
def test_the_first_look_is_early_enough_for_each_limit(head: float, silence: float, first: float) -> None:
    assert first_look(head, silence) == pytest.approx(first)
    assert first_look(head, silence) <= silence / CHECKS
