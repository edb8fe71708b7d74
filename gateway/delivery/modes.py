"""Pure: the modes in which a subscriber is delivered to, and what moves it from one to another.

In: a mode and a cause. Out: the next mode. The invariant: a subscriber is in exactly one mode, and whatever is not in
the table never happens.
"""

from enum import Enum


class Mode(Enum):
    """How a subscriber is delivered to."""

    __hash__ = object.__hash__  # by identity: the hash of `Enum` is Python code, and costs 0.3 us each time

    DETACHED = "detached"  # it has no sink yet
    APART = "apart"  # a cursor of its own: a pass serves it by itself
    STRAIGHT = "straight"  # the only one that takes bytes: each frame is sent in the call that brings it
    IN_STEP = "in step"  # up to date, and shares one cursor with others
    BLOCKED = "blocked"  # its sink takes nothing for now: a pass leaves it out
    ENDED = "ended"


class Cause(Enum):
    """What may change a mode."""

    __hash__ = object.__hash__

    READY = "ready"  # it has got its sink, or its sink has room again
    ALONE = "alone"  # nobody else takes bytes
    CAUGHT_UP = "caught up"  # it stands where others do who move in step
    COMPANY = "company"  # somebody else takes bytes from now on
    BEHIND = "behind"  # there is more for it than one frame, or its position was forgotten
    BLOCKED = "blocked"  # its sink takes nothing more for now
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
