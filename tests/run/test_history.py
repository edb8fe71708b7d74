"""The history counts completions later than they end, and holds no more of them than it has to."""

import asyncio
import gc

from gateway.completion.answer import Record
from gateway.config import StreamSettings
from gateway.dialects.usage import Usage
from gateway.endings import Ending
from gateway.http.refusals import Refusals
from gateway.observe.hourly import MAX_GROUPS
from gateway.routing.router import Router
from gateway.run.history import AT_ONCE, MAX_WAITING, History
from gateway.run.recent_failures import MAX_FAILURES
from gateway.stream.description import AnswerProgress
from gateway.stream.hub import Hub
from tests.stream.talk import Talk

NOW = 1_800_000_000


def record(number: int, ending: Ending = Ending.COMPLETED) -> Record:
    usage = Usage(10, 5, estimated=False)
    return Record(
        id=f"st_{number}",
        request_id=f"req_{number}",
        dialect="chat",
        streamed=True,
        operation="chat",
        model_id="m",
        upstream="a",
        ending=ending,
        error=None if ending is Ending.COMPLETED else "silence",
        usage=usage,
        cost_usd=None,
        ttft_ms=20.0,
    )


def router() -> Router:
    raise AssertionError("only the end of an interval asks for the router")


def history() -> History:
    return History(Hub(StreamSettings()), Refusals(), router)


def test_what_is_read_counts_every_completion_that_has_ended() -> None:
    kept = history()
    for number in range(3):
        kept.on_record(record(number), "key_1", NOW)
    kept.on_record(record(3, Ending.STALLED), None, NOW)
    assert kept.endings == {Ending.COMPLETED: 3, Ending.STALLED: 1}
    assert kept.tokens() == 20
    assert sum(kept.distributions()["ttft_ms"].counts) == 4
    [failed] = kept.failures.as_json(0, with_keys=True)
    assert (failed["outcome"], failed["reason"], failed["request_id"]) == ("stalled", "silence", "req_3")


def test_completions_are_not_held_however_many_end() -> None:
    kept = history()
    for number in range(4 * MAX_WAITING):
        kept.on_record(record(number, Ending.STALLED), f"key_{number}", NOW)
    gc.collect()
    held = sum(isinstance(thing, Record) for thing in gc.get_objects())
    assert held <= MAX_WAITING
    assert len(kept.failures.as_json(0, with_keys=True)) == MAX_FAILURES
    assert len(kept.hourly()) <= MAX_GROUPS + 1


class TokenTalk(Talk):
    """A stream that runs, and has brought seven tokens."""

    def progress(self) -> AnswerProgress:
        return AnswerProgress(7, "a", 30.0, 20.0)


async def test_many_running_streams_are_added_up_in_slices() -> None:
    hub, refusals = Hub(StreamSettings()), Refusals()
    for number in range(10 * AT_ONCE):
        hub.add_stream(TokenTalk(hub, f"st_{number}"))
    kept = History(hub, refusals, router)
    async with asyncio.timeout(10):
        while kept.tokens() != 70 * AT_ONCE:  # noqa: ASYNC110 - each call begins the next pass
            await asyncio.sleep(0)
    assert kept.tokens() == 70 * AT_ONCE
