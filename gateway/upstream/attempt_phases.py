"""Pure: the phases of an attempt: what may happen in each phase, which phase follows, and which timer runs in it.

In: a phase and an input. Out: the next phase and what becomes of the one timer; nothing for an input that changes
nothing in its phase. The invariant: `ENDED` is never left, so an attempt ends once.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

LINGER_SECONDS = 1.0  # how long after the last event the body may still end properly, to keep the connection
# How long after the request a lost connection is replaced. After that the upstream may have begun to generate, and
# would bill the answer twice.
DEAD_ON_ARRIVAL_SECONDS = 1.0
ERROR_BODY_SECONDS = 5.0  # how long to wait for the body of an error whose status is known already


class AttemptPhase(StrEnum):
    """How far an attempt has come."""

    DIALLING = "dialling"  # a connection is being opened
    SENT = "sent"  # the request is on its way; no head has come
    HEAD = "head"  # the head came; the first content is awaited
    ERROR_BODY = "error body"  # the answer is no completion; its body says why
    FLOWING = "flowing"  # the first content came; more follows
    PAUSED = "paused"  # nothing is read: the log is full
    LINGERING = "lingering"  # the completion is whole; the end of its body would keep the connection
    ENDED = "ended"


class AttemptInput(StrEnum):
    """An input of an attempt: what happens to it, or what its owner asks of it."""

    CONNECTED = "connected"  # a connection is there, and the request was written to it
    DEAD_ON_ARRIVAL = "dead on arrival"  # the pooled connection died as the request was written to it
    REDIRECTED = "redirected"  # the head of an answer that sends the request elsewhere on its origin
    HEAD = "head"  # the head of a completion
    ERROR_HEAD = "error head"  # the head of anything else
    CONTENT = "content"  # the first content
    RELAYED = "relayed"  # the first content of a stream went on to the observer
    PAUSE = "pause"
    RESUME = "resume"
    COMPLETE = "complete"  # the completion is whole, the body of the response not yet
    COMPLETE_AND_OVER = "complete and over"  # both are whole
    BODY_OVER = "body over"  # the body of the response, or its connection, has ended
    FAILED = "failed"
    CANCELLED = "cancelled"


class AttemptTimer(StrEnum):
    """What the one timer of an attempt measures."""

    AS_IT_WAS = "as it was"
    NONE = "none"
    ANSWER = "answer"  # the head and the silence before the first content, or the whole of the answer
    ERROR_BODY = "error body"
    IDLE = "idle"  # the silence after the first content
    LINGER = "linger"


class Transition(NamedTuple):
    """The phase that follows, and what becomes of the timer."""

    phase: AttemptPhase
    timer: AttemptTimer


_END = Transition(AttemptPhase.ENDED, AttemptTimer.NONE)
_ANY_END: Mapping[AttemptInput, Transition] = {AttemptInput.FAILED: _END, AttemptInput.CANCELLED: _END}
_WHOLE: Mapping[AttemptInput, Transition] = {
    AttemptInput.COMPLETE: Transition(AttemptPhase.LINGERING, AttemptTimer.LINGER),
    AttemptInput.COMPLETE_AND_OVER: _END,
}

TABLE: Mapping[AttemptPhase, Mapping[AttemptInput, Transition]] = {
    AttemptPhase.DIALLING: {
        AttemptInput.CONNECTED: Transition(AttemptPhase.SENT, AttemptTimer.ANSWER),
        **_ANY_END,
    },
    AttemptPhase.SENT: {
        AttemptInput.DEAD_ON_ARRIVAL: Transition(AttemptPhase.DIALLING, AttemptTimer.NONE),
        AttemptInput.REDIRECTED: Transition(AttemptPhase.DIALLING, AttemptTimer.NONE),
        AttemptInput.HEAD: Transition(AttemptPhase.HEAD, AttemptTimer.AS_IT_WAS),
        AttemptInput.ERROR_HEAD: Transition(AttemptPhase.ERROR_BODY, AttemptTimer.ERROR_BODY),
        **_ANY_END,
    },
    AttemptPhase.HEAD: {
        AttemptInput.CONTENT: Transition(AttemptPhase.FLOWING, AttemptTimer.AS_IT_WAS),
        **_ANY_END,
    },
    AttemptPhase.ERROR_BODY: _ANY_END,
    AttemptPhase.FLOWING: {
        AttemptInput.RELAYED: Transition(AttemptPhase.FLOWING, AttemptTimer.IDLE),
        AttemptInput.PAUSE: Transition(AttemptPhase.PAUSED, AttemptTimer.NONE),
        **_WHOLE,
        **_ANY_END,
    },
    AttemptPhase.PAUSED: {
        AttemptInput.RESUME: Transition(AttemptPhase.FLOWING, AttemptTimer.IDLE),
        **_WHOLE,
        **_ANY_END,
    },
    AttemptPhase.LINGERING: {AttemptInput.BODY_OVER: _END, AttemptInput.CANCELLED: _END},
    AttemptPhase.ENDED: {},
}

# Members that every request needs are constants: CPython 3.11 takes 0.4 us to find the member of an Enum by its name.
CONNECTED, HEAD, CONTENT = AttemptInput.CONNECTED, AttemptInput.HEAD, AttemptInput.CONTENT
RELAYED, COMPLETE, BODY_OVER = AttemptInput.RELAYED, AttemptInput.COMPLETE, AttemptInput.BODY_OVER
COMPLETE_AND_OVER = AttemptInput.COMPLETE_AND_OVER
LINGERING, ENDED, AS_IT_WAS = AttemptPhase.LINGERING, AttemptPhase.ENDED, AttemptTimer.AS_IT_WAS
