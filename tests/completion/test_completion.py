"""One completion, two ways of being delivered: both start, end, are paid for and are settled by the same rules."""

import asyncio
import json

import pytest

from gateway.completion.completion import State
from gateway.completion.whole import WholeCompletion
from gateway.endings import Ending
from gateway.errors import CostExceeded, GatewayError, RivergateError, StreamAborted, UpstreamError
from gateway.routing.catalog import Candidate
from gateway.upstream.attempt import Attempt

from .kit import DOLLAR, PATIENCE, decision, desk, ended, lease_of

QUICK = {"ttft_ms": 1, "gap_ms": 0, "tokens": 4}
SILENT = {"stall_before": "head"}
ENDLESS = {"ttft_ms": 1, "gap_ms": 5, "tokens": 100_000}


def started(completion: WholeCompletion) -> WholeCompletion:
    completion.start()
    return completion


async def test_nothing_is_sent_before_the_start() -> None:
    async with desk(**QUICK) as at:
        completion, whole = at.streamed(), at.whole()
        await asyncio.sleep(0)
        assert at.provider.statistics().requests == 0
        assert completion.state is whole.state is State.ASKING
        whole.start()
        whole.stop(Ending.STOPPED)
        completion.start()
        completion.stop(Ending.STOPPED)
        assert len(at.records) == 2


async def test_a_streamed_answer_goes_into_its_log_and_is_settled_once() -> None:
    async with desk(**QUICK) as at:
        completion = at.streamed()
        completion.start()
        assert await decision(completion) is None
        assert "x-upstream" in completion.headers()
        text = await ended(completion)
        assert text.count("data: ") >= 4
        assert (completion.state, completion.stream.ending) == (State.ENDED, Ending.COMPLETED)
        completion.stop(Ending.STOPPED)  # a stop after the end changes nothing
        (record,) = at.records
        assert (record.id, record.ending, record.upstream) == (completion.id, Ending.COMPLETED, "alpha")
        assert record.usage is not None
        assert record.usage.completion_tokens == 4


async def test_a_whole_answer_has_usage_and_metadata_and_is_settled_once() -> None:
    async with desk(**QUICK) as at:
        completion = at.whole()
        completion.start()
        answer = await completion.wait_answer()
        document = json.loads(bytes(answer.content))
        assert document["usage"]["completion_tokens"] == 4
        assert document["routing_metadata"]["provider"] == "alpha"
        assert answer.headers["x-upstream"] == "alpha"
        (record,) = at.records
        assert (record.id, record.ending) == (completion.id, Ending.COMPLETED)


async def test_a_failure_before_content_is_the_decision_and_stands_in_the_log() -> None:
    async with desk(status=500) as at:
        completion = at.streamed()
        completion.start()
        failure = await decision(completion)
        assert isinstance(failure, UpstreamError)
        assert failure.details["routing_metadata"]["attempts"][0]["upstream"] == "alpha"
        assert '"code":"upstream_error"' in await ended(completion)
        assert [record.ending for record in at.records] == [Ending.UPSTREAM_ERROR]
        assert await decision(completion) is failure  # a later call gets the same decision


async def test_a_whole_answer_that_fails_raises_with_the_attempts() -> None:
    async with desk(status=500) as at:
        with pytest.raises(UpstreamError) as raised:
            await started(at.whole()).wait_answer()
        assert raised.value.details["routing_metadata"]["attempts"][0]["upstream"] == "alpha"
        assert [record.ending for record in at.records] == [Ending.UPSTREAM_ERROR]


@pytest.mark.parametrize("script", [SILENT, ENDLESS], ids=["before content", "in mid-stream"])
async def test_a_stop_closes_the_upstream_and_settles_in_the_same_call(script: dict[str, object]) -> None:
    async with desk(**script) as at:
        completion = at.streamed()
        completion.start()
        if script is ENDLESS:
            assert await decision(completion) is None
        else:
            await at.seen(lambda now: now.requests == 1)
        completion.stop(Ending.STOPPED)
        assert (completion.stream.ending, [record.ending for record in at.records]) == (Ending.STOPPED, ["stopped"])
        await at.seen(lambda now: now.aborted == 1)
        assert '"code":"stream_aborted"' in await ended(completion)


async def test_a_whole_answer_that_is_given_up_closes_its_upstream() -> None:
    async with desk(**SILENT) as at:
        fetching = asyncio.create_task(started(at.whole()).wait_answer())
        await at.seen(lambda now: now.requests == 1)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        await at.seen(lambda now: now.aborted == 1)
        assert [record.ending for record in at.records] == [Ending.ABANDONED]


async def test_a_drain_is_told_as_one() -> None:
    async with desk(**SILENT) as at:
        completion = at.streamed()
        completion.start()
        completion.stop(Ending.DRAINED)
        failure = await decision(completion)
        assert isinstance(failure, RivergateError)
        assert (failure.status, failure.retry_after) == (503, 1)


async def test_both_ways_end_at_the_same_token_when_the_money_is_gone() -> None:
    """A prompt of two tokens and six dollars: four tokens of an answer are paid for, the fifth is one too many."""
    for text, is_paid in (("a b c d", True), ("a b c d e", False)):
        async with desk(ttft_ms=1, gap_ms=0, text=text, usage="never") as at:
            streamed = at.streamed(lease_of(6, 3))
            streamed.start()
            assert ('"code":"budget_exhausted"' not in await ended(streamed)) is is_paid
            expected = Ending.COMPLETED if is_paid else Ending.BUDGET_EXHAUSTED
            assert streamed.stream.ending is expected
        async with desk(ttft_ms=1, gap_ms=0, text=text) as at:
            lease = lease_of(6, 3)
            if is_paid:
                await started(at.whole(lease)).wait_answer()
            else:
                with pytest.raises(CostExceeded):
                    await started(at.whole(lease)).wait_answer()
            assert at.records[0].ending is expected
            assert lease.reserved <= 6 * DOLLAR


async def test_a_failure_to_tell_the_end_does_not_leave_a_completion_unsettled() -> None:
    class Deaf(Exception):
        pass

    def refuse(error: object) -> None:
        raise Deaf

    async with desk(**SILENT) as at:
        completion = at.streamed()
        completion.start()
        completion.when_decided(refuse)
        with pytest.raises(Deaf):
            completion.stop(Ending.STOPPED)
        assert [record.ending for record in at.records] == [Ending.STOPPED]
        completion.stop(Ending.DRAINED)
        assert len(at.records) == 1


class Endless(WholeCompletion):
    """A way of delivery that fails when the answer is whole."""

    def _complete(self) -> None:
        raise ZeroDivisionError


class Undelivered(WholeCompletion):
    """A way of delivery that fails when an attempt has won."""

    def _deliver(self, attempt: Attempt, candidate: Candidate) -> None:
        raise ZeroDivisionError


@pytest.mark.parametrize("broken", [Endless, Undelivered])
async def test_who_waits_for_an_answer_that_a_fault_has_ended_is_told_and_its_lease_is_closed(
    broken: type[WholeCompletion],
) -> None:
    async with desk(**QUICK) as at:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # the fault that is told there
        lease = lease_of(6, 3)
        reserved = lease.reserved
        completion = broken(
            at.call(False, {}), at.route(False), settle=at.records.append, tasks=at.tasks, lease=lease
        )
        with pytest.raises(GatewayError):
            async with asyncio.timeout(PATIENCE):
                await started(completion).wait_answer()
        assert len(at.records) == 1
        assert lease.extend(DOLLAR) == reserved  # a closed lease does not grow


async def test_a_record_that_cannot_be_taken_does_not_leave_its_lease_open() -> None:
    def refuse(record: object) -> None:
        raise ZeroDivisionError

    async with desk(**SILENT) as at:
        lease = lease_of(6, 3)
        completion = WholeCompletion(at.call(False, {}), at.route(False), settle=refuse, tasks=at.tasks, lease=lease)
        completion.start()
        with pytest.raises(ZeroDivisionError):
            completion.stop(Ending.STOPPED)
        reserved = lease.reserved
        assert lease.extend(DOLLAR) == reserved  # a closed lease does not grow
        assert completion.state is State.ENDED


async def test_who_waits_for_the_answer_of_a_completion_that_was_stopped_is_told() -> None:
    async with desk(**SILENT) as at:
        completion = at.whole()
        completion.start()
        fetching = asyncio.create_task(completion.wait_answer())
        await at.seen(lambda now: now.requests == 1)
        completion.stop(Ending.STOPPED)
        with pytest.raises(StreamAborted):
            async with asyncio.timeout(PATIENCE):
                await fetching
