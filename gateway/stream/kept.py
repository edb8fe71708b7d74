"""Shell: a kept stream: one that has ended, and can be read for a while as if it had just ended.

What is kept of it is an entry: a plain tuple of text and bytes, over which the collector of cyclic garbage does not
walk: it stops tracking a tuple that holds no containers at its first look. (It would track an instance of any class,
a subclass of `tuple` too.) `KeptStream` shows an entry as the stream that it was.
"""

from collections.abc import Callable, Iterable
from typing import Any

from gateway.config import StreamSettings
from gateway.endings import Ending
from gateway.errors import RivergateError
from gateway.stream.description import AnswerFacts, AnswerProgress, StreamFacts, answer_headers, describe
from gateway.stream.packed_log import Block, PackedLog, size_of
from gateway.stream.production import Production
from gateway.stream.stream import EndedStream, Stream, StreamStatistics
from gateway.wire import json_text

# The owner, the stream key, the fingerprint of the request, the dialect's terminal and keep-alive bytes, the facts
# (JSON: the epoch, the end and the ending of the log, five counts, and `StreamFacts`), and the blocks of the log
# (`packed_log.py`).
KeptEntry = tuple[str, str | None, bytes, bytes, bytes, bytes, *tuple[Block, ...]]


def entry_of(production: Production, numbers: StreamStatistics, blocks: Iterable[Block]) -> KeptEntry:
    """The entry of a stream that has ended and has no subscriber. `blocks`: its packed log."""
    log = production.stream.log
    assert log.ending is not None
    created, model, dialect, answer = production.facts()
    counts = numbers.subscribers_total, numbers.lagged_subscribers, numbers.bytes, numbers.deliveries, numbers.sends
    ended = log.epoch, log.next_seq, log.ending.name
    facts = json_text.dumps_to_keep([*ended, *counts, created, model, dialect, *answer])
    owner, key, fingerprint = production.owner, production.key, production.fingerprint
    return owner, key, fingerprint, log.terminal, log.keepalive, facts, *blocks


def owner_of(entry: KeptEntry) -> str:
    """Whose stream it is."""
    return entry[0]


def key_of(entry: KeptEntry) -> str | None:
    """The X-Stream-Key of its request."""
    return entry[1]


def log_bytes_of(entry: KeptEntry) -> int:
    """The size of its log."""
    _, _, _, _, _, _, *blocks = entry
    return sum(map(size_of, blocks))


class KeptStream:
    """A stream that is kept (`Production`). The parts that serve subscribers are made when they are asked for."""

    __slots__ = ("_counts", "_entry", "_facts", "_limits", "_log_facts", "_stream", "id")

    announced = True

    def __init__(self, stream_id: str, entry: KeptEntry, limits: StreamSettings) -> None:
        """Show this entry. `limits` hold for the subscribers that come from now on."""
        self.id = stream_id
        self._entry = entry
        self._limits = limits
        self._stream: Stream | None = None
        epoch, next_seq, ending, *counts = json_text.loads(entry[5])
        self._log_facts: tuple[str, int, Ending] = epoch, next_seq, Ending[ending]
        self._counts: list[int] = counts[:5]
        created, model, dialect, *answer = counts[5:]
        self._facts = StreamFacts(created, model, dialect, AnswerFacts(*answer))

    @property
    def owner(self) -> str:
        return owner_of(self._entry)

    @property
    def key(self) -> str | None:
        return key_of(self._entry)

    @property
    def fingerprint(self) -> bytes:
        return self._entry[2]

    @property
    def stream(self) -> Stream:
        """The log and its subscribers; they are counted from the first call on."""
        if self._stream is None:
            _, _, _, terminal, keepalive, _, *blocks = self._entry
            epoch, next_seq, ending = self._log_facts
            log = PackedLog(epoch, next_seq, terminal, keepalive, blocks, ending)
            self._stream = EndedStream(self.id, log, self._limits)
        return self._stream

    @property
    def opened(self) -> Stream | None:
        """The stream, if it was asked for before."""
        return self._stream

    def entry(self) -> KeptEntry:
        """The entry with the counts of today."""
        if self._stream is None or not self._stream.statistics().subscribers_total:
            return self._entry
        _, _, _, _, _, _, *blocks = self._entry
        return entry_of(self, self._numbers(), blocks)

    def headers(self) -> dict[str, str]:
        return answer_headers(self._facts.answer)

    def facts(self) -> StreamFacts:
        return self._facts

    def progress(self) -> AnswerProgress:
        answer = self._facts.answer
        tokens = 0 if answer.usage is None else answer.usage["completion_tokens"]
        return AnswerProgress(tokens, answer.upstream, answer.first_content_ms)

    def describe(self) -> dict[str, Any]:
        """What the stream was when it was kept, with the subscribers that have come since."""
        return describe(self.id, "ended", self._numbers(), self._facts)

    def _numbers(self) -> StreamStatistics:
        """The counts of the stream, with those of the subscribers that have come since it was kept."""
        _, events, ending = self._log_facts
        total, lagged, size, deliveries, sends = self._counts
        before = StreamStatistics(0, total, events, size, 0, lagged, deliveries, sends, 0, 0.0, ending)
        if self._stream is None:
            return before
        now = self._stream.statistics()
        return before._replace(
            subscribers=now.subscribers,
            subscribers_total=total + now.subscribers_total,
            lag_events=now.lag_events,
            lagged_subscribers=lagged + now.lagged_subscribers,
            deliveries=deliveries + now.deliveries,
            sends=sends + now.sends,
        )

    def stop(self, ending: Ending) -> None:
        """Nothing: the stream has ended."""

    def announce(self) -> None:
        """Nothing: the stream is kept."""

    def when_decided(self, call: Callable[[RivergateError | None], None]) -> None:
        """Call `call` at once: of the kept streams only those with a whole answer are joined by a request."""
        call(None)
