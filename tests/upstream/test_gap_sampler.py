"""Samples of the time between two reads of tokens."""

from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import AnswerIdentity
from gateway.upstream.bodies import StreamBody
from gateway.upstream.gap_sampler import MAX_KEPT_SAMPLES, GapSampler, GapSamples

from .body_owner import Owner
from .kit import FINISH, ROLE, word
from .lines import Recorder, StandingLine


def streaming() -> tuple[StandingLine, StreamBody, GapSampler]:
    line = StandingLine()
    line.ask(Recorder())
    line.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    body = StreamBody(Owner(flows=False), CHAT.reader(AnswerIdentity("1", 1, "m")))
    line.connection.deliver_to(body.feed, body.feed_chunk)
    send(line, ROLE, word("a"))
    return line, body, GapSampler(body)


def send(line: StandingLine, *events: bytes) -> None:
    for event in events:
        line.feed(b"%x\r\n%b\r\n" % (len(event), event))


def samples(sampler: GapSampler) -> int:
    return sampler.gaps.count


def test_a_sample_is_the_time_between_the_next_two_reads_and_no_more() -> None:
    line, body, sampler = streaming()
    send(line, word("b"))
    assert samples(sampler) == 0
    sampler.sample(line.connection)
    send(line, word("c"))
    assert samples(sampler) == 0
    send(line, word("d"), word("e"), word("f"))
    assert samples(sampler) == 1
    assert body.counts.events == 6


def test_a_sample_that_is_being_taken_is_not_begun_again() -> None:
    line, _, sampler = streaming()
    sampler.sample(line.connection)
    send(line, word("b"))
    sampler.sample(line.connection)
    send(line, word("c"))
    assert samples(sampler) == 1


def test_a_pause_in_a_sample_is_not_measured() -> None:
    line, _, sampler = streaming()
    sampler.sample(line.connection)
    send(line, word("b"))
    sampler.drop()
    send(line, word("c"))
    assert samples(sampler) == 0
    send(line, word("d"))
    assert samples(sampler) == 1


def test_what_comes_while_a_sample_is_taken_is_read_as_ever() -> None:
    line, body, sampler = streaming()
    sampler.sample(line.connection)
    send(line, word("b"), FINISH)
    assert body.finished
    assert samples(sampler) == 1


def test_quantiles_are_those_of_the_samples() -> None:
    gaps = GapSamples()
    for seconds in (0.5, 0.1, 0.3, 0.2, 0.4):
        gaps.add(seconds)
    assert (gaps.quantile(0.0), gaps.quantile(0.5), gaps.quantile(0.95), gaps.count) == (0.1, 0.3, 0.5, 5)


def test_of_more_samples_than_are_kept_the_oldest_are_forgotten() -> None:
    gaps = GapSamples()
    for number in range(MAX_KEPT_SAMPLES + 10):
        gaps.add(float(number))
    assert (gaps.quantile(0.0), gaps.quantile(1.0)) == (10.0, MAX_KEPT_SAMPLES + 9.0)
    assert gaps.count == MAX_KEPT_SAMPLES + 10
