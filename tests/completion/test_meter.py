"""The limits of an answer's length and cost: every frame is passed on, and the first limit exceeded is reported."""

from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.completion.meter import Meter, OutputLimits, affordable_tokens
from gateway.completion.spending import Spending
from gateway.config import StreamSettings
from gateway.dialects.chat.reader import ChatReader
from gateway.dialects.chat.repair import Identity
from gateway.endings import Ending
from gateway.errors import CostExceeded, OutputExceeded, RivergateError
from gateway.stream.stream import Stream
from gateway.wire import sse
from gateway.wire.http1 import encode_chunk


class Source:
    """A producer that is never asked for anything here."""

    def pause(self) -> None:
        raise AssertionError

    def resume(self) -> None:
        raise AssertionError

    def stop(self, ending: Ending) -> None:
        raise AssertionError


class Answer:
    """An answer that passes a meter, text by text."""

    def __init__(self, limits: OutputLimits, affordable: int | None = None, spending: Spending | None = None) -> None:
        self.stream = Stream("chat-1", "e1", StreamSettings(), Source())
        self.chat = ChatReader(Identity("chatcmpl-1", 1, "m"))
        self.reported: list[RivergateError] = []
        self.meter = Meter(self.stream, self.chat.counts, limits, affordable, self.reported.append, spending)

    def frame(self, text: str) -> bytes:
        """The next chunk, read as an attempt reads it."""
        choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        block = sse.frame(orjson.dumps(chunk))
        frame = self.chat.shape.fit(block) or self.chat.read(block).frame
        assert frame is not None
        return frame

    def say(self, *texts: str) -> bool:
        """Pass these texts through the meter; returns whether they went beyond a limit."""
        before = len(self.reported)
        for text in texts:
            self.meter.on_frame(self.frame(text))
        return len(self.reported) > before


def test_limits_that_limit_nothing_are_false() -> None:
    assert not OutputLimits()
    assert OutputLimits(tokens=1)
    assert OutputLimits(text_bytes=1)
    assert OutputLimits(cost_usd=Decimal(0))


async def test_as_many_tokens_as_the_limit_pass_and_one_more_is_told() -> None:
    answer = Answer(OutputLimits(tokens=3))
    assert not answer.say("a", "b", "c")
    assert answer.say("d")
    (error,) = answer.reported
    assert isinstance(error, OutputExceeded)
    assert (error.code, error.ending) == ("stream_output_exceeded", Ending.MAX_OUTPUT)
    assert "max_output_tokens (3)" in error.message


async def test_the_chunk_that_goes_beyond_is_still_passed_on() -> None:
    answer = Answer(OutputLimits(tokens=1))
    answer.say("a", "b")
    assert answer.stream.log.next_seq == 2


async def test_long_chunks_count_by_their_length() -> None:
    answer = Answer(OutputLimits(tokens=3))
    assert not answer.say("x" * 12)
    assert Answer(OutputLimits(tokens=3)).say("x" * 13)


async def test_as_many_bytes_as_the_limit_pass_and_one_more_is_told() -> None:
    answer = Answer(OutputLimits(text_bytes=6))
    assert not answer.say("abc", "é", "d")
    assert answer.say("e")
    assert "max_output_bytes (6)" in answer.reported[0].message


async def test_the_first_chunk_may_be_beyond_the_limit() -> None:
    assert Answer(OutputLimits(text_bytes=6)).say("abcdefg")


async def test_text_without_bytes_costs_nothing() -> None:
    assert not Answer(OutputLimits(tokens=1, text_bytes=1)).say("", "", "a")


async def test_as_many_tokens_as_the_money_is_enough_for_pass() -> None:
    limits = OutputLimits(cost_usd=Decimal("0.002"))
    answer = Answer(limits, affordable=2)
    assert not answer.say("a", "b")
    assert answer.say("c")
    (error,) = answer.reported
    assert isinstance(error, CostExceeded)
    assert (error.code, error.ending) == ("budget_exhausted", Ending.BUDGET_EXHAUSTED)
    assert "max_cost_usd (0.002)" in error.message


async def test_without_money_for_a_single_token_the_first_one_is_told() -> None:
    assert Answer(OutputLimits(cost_usd=Decimal(1)), affordable=0).say("a")


async def test_where_tokens_have_no_price_the_money_is_enough_for_any_number() -> None:
    assert not Answer(OutputLimits(cost_usd=Decimal(1)), affordable=None).say(*"abcdefgh")


async def test_the_limit_that_is_reached_first_is_told_and_once_for_each_frame() -> None:
    answer = Answer(OutputLimits(tokens=2, text_bytes=2), affordable=2)
    assert answer.say("abc")
    assert "max_output_bytes" in answer.reported[0].message
    answer.say("d", "e")
    assert [type(error) for error in answer.reported] == [OutputExceeded] * 3


async def test_frames_that_were_held_are_passed_in_order_and_looked_at_together() -> None:
    answer = Answer(OutputLimits(tokens=2))
    frames = [answer.frame(text) for text in "ab"]
    answer.meter.on_frames(frames)
    assert (answer.stream.log.next_seq, answer.reported) == (2, [])
    answer.meter.on_frames([answer.frame(text) for text in "cd"])
    assert (answer.stream.log.next_seq, len(answer.reported)) == (4, 1)


async def test_a_frame_with_its_transfer_chunk_counts_once() -> None:
    answer = Answer(OutputLimits(tokens=1))
    frame = answer.frame("a")
    answer.meter.on_frame(frame, encode_chunk(frame))
    assert (answer.stream.log.next_seq, answer.reported) == (1, [])


async def test_a_purse_that_is_filled_again_pays_on_and_an_empty_one_ends_the_answer() -> None:
    requests: list[int] = []

    def extend(missing: int) -> int:
        requests.append(missing)
        return 5

    answer = Answer(OutputLimits(), spending=Spending(2, 0, Decimal(1), extend))
    assert not answer.say("a", "b")
    assert requests == []
    assert not answer.say("c", "d", "e")
    assert len(requests) == 1
    assert answer.say("f")
    assert isinstance(answer.reported[0], CostExceeded)


async def test_a_purse_for_tokens_without_a_price_is_asked_once() -> None:
    answer = Answer(OutputLimits(), spending=Spending(0, 0, None, lambda missing: 0))
    assert not answer.say(*"abcdef")


# --- what the money is enough for


@pytest.mark.parametrize(
    ("cost", "prompt", "price", "tokens"),
    [
        ("0.00001", "0", "10", 1),
        ("0.000019", "0", "10", 1),
        ("0.00002", "0.00001", "10", 1),
        ("0.00001", "0.00001", "10", 0),
        ("0.00001", "5", "10", 0),
        ("1", "0", "0.1", 10_000_000),
        ("0.00001", "0.00001", None, None),
        ("0.00001", "0.00002", None, 0),
        ("0.00001", "0", "0", None),
        ("0.00001", "1", "0", 0),
        ("1e300", "0", "1e-6", int(Decimal("1e312"))),
    ],
)
def test_the_money_left_by_the_prompt_is_enough_for_so_many_tokens(
    cost: str, prompt: str, price: str | None, tokens: int | None
) -> None:
    per_mtok = None if price is None else Decimal(price)
    assert affordable_tokens(Decimal(cost), Decimal(prompt), per_mtok) == tokens


MONEY = st.decimals(0, 100, places=6)


@given(MONEY, MONEY, st.decimals("0.0001", 1000, places=4))
def test_what_can_be_afforded_never_costs_more_than_the_limit_and_one_token_more_does(
    cost: Decimal, prompt: Decimal, price: Decimal
) -> None:
    tokens = affordable_tokens(cost, prompt, price)
    assert tokens is not None
    assert tokens == 0 or prompt + tokens * price / 1_000_000 <= cost
    assert prompt + (tokens + 1) * price / 1_000_000 > cost
