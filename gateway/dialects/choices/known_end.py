"""Pure: the end of an answer, known by its bytes: the event with the finish, the event with the usage, and `[DONE]`.

In: these events of an answer that was read in full. Out: a `KnownFinish`, which finds the finish in a later answer of
the same upstream and model, where only the id and the time differ; and a `KnownRest`, which finds all three in one
read, where the counts of the usage differ too. To read them in full takes 1,800 bytecodes. The invariant: what
differs is proven by a parse with probes in its place. What does not match byte by byte is read in full.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from gateway.dialects.choices.envelope import PLAIN_EVENT
from gateway.dialects.choices.event_errors import FAILED_FINISHES
from gateway.dialects.choices.event_pattern import pattern_of
from gateway.dialects.choices.frames import DONE
from gateway.dialects.reported_usage import ReportedUsage, is_plain_usage

MAX_FINISH_BYTES = 2048  # a larger event brings more than a finish, or more than the usage
MAX_EVENTS = 3  # at the end of an answer
_FIND_COUNTS = re.compile(rb'"prompt_tokens": ?(\d+), ?"completion_tokens": ?(\d+), ?"total_tokens": ?(\d+)')
_COUNT = rb"(0|[1-9][0-9]{0,6})"
_COUNT_NAMES = ("prompt_tokens", "completion_tokens", "total_tokens")


class KnownFinish(NamedTuple):
    """The pattern of the event; the index of the choice that it ends, and why that has finished."""

    pattern: "re.Pattern[bytes]"
    choice: int
    reason: str

    def answer_id(self, block: bytes) -> str | None:
        """The id in a block that is this event; None: it is another one."""
        found = self.pattern.fullmatch(block)
        return None if found is None else found["id"].decode()


def learn_finish(block: bytes, payload: Mapping[str, Any]) -> KnownFinish | None:
    """The finish that this block is. It needed no repair, and its object has one choice, which has no content.

    None: it may bring more.
    """
    (choice,) = payload["choices"]
    reason = choice["finish_reason"]
    if not payload.keys() <= PLAIN_EVENT or reason in FAILED_FINISHES:
        return None
    if len(block) > MAX_FINISH_BYTES or not block.isascii() or (pattern := pattern_of(block)) is None:
        return None
    return KnownFinish(pattern, choice["index"], reason)


class KnownRest(NamedTuple):
    """The pattern of all that follows the last token. `usage`: the object with other counts; None: there is none."""

    pattern: "re.Pattern[bytes]"
    finish: KnownFinish
    usage: Mapping[str, Any] | None


class FoundRest(NamedTuple):
    """The end of an answer: the event with its finish, and what its upstream reports."""

    finish: bytes
    usage: ReportedUsage | None

    @classmethod
    def find(cls, known: KnownRest, data: bytes, answer_id: str) -> "FoundRest | None":
        """The end of the answer with this id, if a read is that and nothing else."""
        found = known.pattern.fullmatch(data)
        if found is None or found["id"].decode() != answer_id:
            return None
        finish = data[: found.end("finish")]
        if known.usage is None:
            return cls(finish, None)
        prompt, completion, total = map(int, found.groups()[-3:])
        if prompt + completion != total:
            return None  # it has to be interpreted
        counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
        return cls(finish, ReportedUsage(prompt, completion, {**known.usage, **counts}))


def learn_rest(finish: KnownFinish, events: Sequence[bytes]) -> KnownRest | None:
    """The end that these events are, of which the first is this finish. None: they may mean more than that."""
    usage, parts = None, [b"(?P<finish>%b)" % finish.pattern.pattern]
    if len(events) == MAX_EVENTS:
        if (learned := _learn_usage(events[1])) is None:
            return None
        parts.append(learned[0])
        usage = learned[1]
    if finish.answer_id(events[0]) is None or events[-1] != DONE or not 2 <= len(events) <= MAX_EVENTS:
        return None
    return KnownRest(re.compile(b"".join([*parts, re.escape(DONE)])), finish, usage)


def _learn_usage(block: bytes) -> tuple[bytes, Mapping[str, Any]] | None:
    """The pattern of an event that brings nothing but the usage, and its usage object; None: it may bring more."""
    if len(block) > MAX_FINISH_BYTES or not block.startswith(b"data: ") or not block.isascii():
        return None
    pattern = pattern_of(block)
    if pattern is None or len(_FIND_COUNTS.findall(block)) != 1:
        return None
    payload, told = orjson.loads(block[6:]), _FIND_COUNTS.search(block)
    assert told is not None
    usage = payload.get("usage")
    if payload.keys() - PLAIN_EVENT != {"usage"} or payload.get("choices") != [] or not is_plain_usage(usage):
        return None
    probed = block[: told.start()] + b'"prompt_tokens":1,"completion_tokens":2,"total_tokens":3' + block[told.end() :]
    if orjson.loads(probed[6:]) != {**payload, "usage": {**usage, **dict(zip(_COUNT_NAMES, (1, 2, 3), strict=True))}}:
        return None
    literal = re.escape(told[0])
    with_holes = re.sub(rb"\d+", lambda _: _COUNT, literal)
    if pattern.pattern.count(literal) != 1:
        return None
    whole = pattern.pattern.replace(literal, with_holes)
    return whole.replace(b"?P<id>", b"?:").replace(b"?P<created>", b"?:"), usage
