"""Pure: the modes of a subscriber's delivery, and what moves a subscriber from one mode to another.

In: a mode and a cause. Out: the next mode. The invariant: a subscriber is in exactly one mode, and whatever is not in
the table never happens.
"""

from enum import Enum


class Mode(Enum):
    """How a subscriber is served."""

    __hash__ = object.__hash__  # by identity: the hash of `Enum` is Python code, and costs 0.3 us each time

    DETACHED = "detached"  # the subscriber has no sink yet
    APART = "apart"  # the subscriber has a cursor of its own, and a pass serves it by itself
    STRAIGHT = "straight"  # the only subscriber that takes bytes: each frame is sent in the call that brings it
    IN_STEP = "in step"  # the subscriber is up to date, and shares one cursor with others
    BLOCKED = "blocked"  # the sink takes nothing for now, and a pass leaves the subscriber out
    ENDED = "ended"


class Cause(Enum):
    """What may change the mode of a subscriber."""

    __hash__ = object.__hash__  # by identity, as in `Mode`

    READY = "ready"  # the subscriber has got its sink, or the sink has room again
    ALONE = "alone"  # no other subscriber takes bytes
    CAUGHT_UP = "caught up"  # the subscriber has come to the position of the subscribers in step
    COMPANY = "company"  # another subscriber takes bytes from now on
    BEHIND = "behind"  # the subscriber is to be sent more than one frame, or the log has forgotten its position
    BLOCKED = "blocked"  # the sink takes nothing more for now
    ENDED = "ended"


_NEXT = {
    (Mode.DETACHED, Cause.READY): Mode.APART,
    (Mode.DETACHED, Cause.ENDED): Mode.ENDED,
    (Mode.APART, Cause.READY): Mode.APART,
    (Mode.APART, Cause.ALONE): Mode.STRAIGHT,
    (Mode.APART, Cause.CAUGHT_UP): Mode.IN_STEP,
    (Mode.APART, Cause.BLOCKED): Mode.BLOCKED,
    (Mode.APART, Cause.ENDED): Mode.ENDED,
    (Mode.STRAIGHT, Cause.READY): Mode.STRAIGHT,
    (Mode.STRAIGHT, Cause.COMPANY): Mode.APART,
    (Mode.STRAIGHT, Cause.BEHIND): Mode.APART,
    (Mode.STRAIGHT, Cause.BLOCKED): Mode.BLOCKED,
    (Mode.STRAIGHT, Cause.ENDED): Mode.ENDED,
    (Mode.IN_STEP, Cause.READY): Mode.IN_STEP,
    (Mode.IN_STEP, Cause.ALONE): Mode.APART,
    (Mode.IN_STEP, Cause.BEHIND): Mode.APART,
    (Mode.IN_STEP, Cause.BLOCKED): Mode.BLOCKED,
    (Mode.IN_STEP, Cause.ENDED): Mode.ENDED,
    (Mode.BLOCKED, Cause.READY): Mode.APART,
    (Mode.BLOCKED, Cause.ENDED): Mode.ENDED,
}


def next_mode(mode: Mode, cause: Cause) -> Mode:
    """The mode that follows. Raises `KeyError` for what never happens."""
    return _NEXT[mode, cause]
