"""The time to the first token varies as the script says, and the same way every time."""

from functools import cache

from gateway.simulate.chat import CHAT
from gateway.simulate.dice import settled
from gateway.simulate.plan import plan
from gateway.simulate.script import Script
from gateway.simulate.steps import Facts, Send

UNSTEADY = Script(ttft_ms=100, ttft_jitter_ms=10, slow_share=0.05, slow_ttft_ms=1000, tokens=1)
NUMBERS = range(1, 10_001)


def settled_ttfts(script: Script) -> list[float]:
    return [settled(script, number).ttft_ms for number in NUMBERS]


ttfts = cache(settled_ttfts)


def test_a_steady_script_is_left_as_it_is() -> None:
    steady = Script(slow_ttft_ms=10)
    assert settled(steady, 1) is steady


def test_the_same_seed_and_number_wait_as_long_and_others_do_not() -> None:
    assert settled_ttfts(UNSTEADY) == ttfts(UNSTEADY)
    assert ttfts(UNSTEADY) != ttfts(UNSTEADY.replace({"seed": 1}))
    assert len(set(ttfts(UNSTEADY))) > 9000


def test_about_the_scripted_share_is_slow_by_exactly_the_scripted_time() -> None:
    assert 400 < ttfts(UNSTEADY).count(1000) < 600
    assert set(ttfts(UNSTEADY.replace({"slow_share": 1}))) == {1000}
    assert max(ttfts(UNSTEADY.replace({"slow_share": 0}))) < 110


def test_the_jitter_is_even_on_both_sides() -> None:
    usual = sorted(ttft for ttft in ttfts(UNSTEADY) if ttft < 1000)
    assert 90 <= usual[0] < 90.1
    assert 109.9 < usual[-1] < 110
    assert 99.5 < usual[len(usual) // 2] < 100.5


def test_who_is_slow_does_not_depend_on_the_jitter() -> None:
    even = ttfts(UNSTEADY.replace({"ttft_jitter_ms": 0}))
    assert [ttft == 1000 for ttft in even] == [ttft == 1000 for ttft in ttfts(UNSTEADY)]
    assert set(even) == {100, 1000}


def test_a_settled_script_has_nothing_left_to_chance_and_plays() -> None:
    slow = settled(UNSTEADY.replace({"slow_share": 1}), 7)
    assert settled(slow, 8) is slow
    first = next(step for step in plan(slow, Facts(), CHAT) if isinstance(step, Send) and step.tokens)
    assert first.at == 1.0


def test_the_widest_jitter_reaches_down_to_the_head() -> None:
    widest = Script(ttft_ms=50, head_ms=20, ttft_jitter_ms=30)
    assert all(20 <= settled(widest, number).ttft_ms < 80 for number in NUMBERS)


def test_the_load_of_a_model_delays_the_first_request_also_beside_the_dice() -> None:
    script = Script(ttft_ms=10, ttft_jitter_ms=5, load_ms=100)
    first, second = (settled(script, number) for number in (1, 2))
    assert first.head_ms == 100
    assert 105 <= first.ttft_ms <= 115
    assert (second.head_ms, second.ttft_ms <= 15) == (0, True)
