"""Pure: where a subscriber begins: at the start, at the newest event, or behind the last event it has seen."""

import re
from dataclasses import dataclass

from gateway.stream.log import StreamLog

# `<epoch>-<seq>`, and perhaps a slash and the id that the source of a feed gave the event.
_POSITION = re.compile(r"([A-Za-z0-9]{1,64})-([0-9]{1,18})(?:/.*)?")


@dataclass(frozen=True, slots=True)
class StartPoint:
    """The first event to send. `reset`: the client's position is not of this log, so it is sent everything again."""

    seq: int
    reset: bool = False


def start_of(log: StreamLog, last_event_id: str | None, from_now: bool, *, oldest: int) -> StartPoint | None:
    """The point where a subscriber begins; None if it has been sent everything, the end included.

    `oldest` is where a stream begins for a new subscriber: 0, so that the subscriber is told how much was forgotten
    before; for a ring, whose nature is to forget, its first event.
    A position is never guessed: for an id that this log cannot have given, as one of another server, the client is
    told that it begins anew. Refused, an `EventSource` would never come again.
    """
    if last_event_id is None:
        return StartPoint(log.next_seq if from_now else oldest)
    matched = _POSITION.fullmatch(last_event_id)
    if matched is None or matched[1] != log.epoch:
        return StartPoint(oldest, reset=True)
    seq = int(matched[2]) + 1
    if seq > log.next_seq + (log.ending is not None):
        return StartPoint(oldest, reset=True)
    if log.ending is not None and seq > log.next_seq:
        return None
    return StartPoint(seq)
