"""Pure: the beginning of an answer: its event with the role and its first event with text, known by their bytes.

In: these two events of an answer that was read in full. Out: a `Beginning`, which finds the same two events in the
first reads of a later answer of the same upstream and model, where only the id, the time and the text differ. To read
them in full takes 1,000 bytecodes in front of the first token; so it takes 150 (bench/README.md). The invariant: the
beginning is proven by a parse with probes in place of the id and the time, and the shape of the text was proven by
`learned_shape`. What does not match byte by byte is read in full.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from gateway.dialects.chat.repair import PLAIN_CHOICE, PLAIN_DELTA, PLAIN_EVENT, Identity
from gateway.dialects.learned_shape import Around

_ID = rb"(?P<id>[A-Za-z0-9._:-]{1,128})"
_CREATED = rb"(?P<created>[1-9][0-9]{0,11})"
_TEXT = rb"(?P<text>[ !#-\[\]-\x7f]++)"  # the inside of a JSON string without escapes, in ASCII
_FIND_ID = re.compile(rb'"id": ?"(%b)"' % _ID)
_FIND_CREATED = re.compile(rb'"created": ?(%b),' % _CREATED)
_PROBE_ID, _PROBE_CREATED = "hole", 1
_TEXT_DELTA = PLAIN_DELTA | {"reasoning_content", "reasoning"}


class Beginning(NamedTuple):
    """The patterns of the event with the role and of the event with text; the model and choice that both name."""

    role: "re.Pattern[bytes]"
    text: "re.Pattern[bytes]"
    model: str
    choice: int  # its index
    spoken: int | tuple[int, str]  # the kind of the text, as `Identity.spoken` has it


def learn_beginning(role: bytes, around: Around) -> Beginning | None:
    """The beginning of which these are the event with the role and the bytes around the text of the next event.

    The first was read as plain text (`repair.plain_text`), and both are frames as they stand. None: there is a doubt.
    """
    head, tail = around
    role_pattern, text_pattern = pattern_of(role), pattern_of(head, tail)
    if role_pattern is None or text_pattern is None or not (role.isascii() and head.isascii() and tail.isascii()):
        return None
    first = orjson.loads(role[6:-2])
    model, choice = first["model"], first["choices"][0]["index"]
    spoken = _spoken(orjson.loads((head + b"." + tail)[6:-2]), choice)
    if not model or len(spoken) != 1:
        return None
    return Beginning(role_pattern, text_pattern, model, choice, *spoken)


def _spoken(payload: Mapping[str, Any], index: int) -> set[int | tuple[int, str]]:
    """What the choice with this index has brought after this event; nothing if the event may mean more than text."""
    (choice,) = payload["choices"]
    delta, seen = choice["delta"], Identity("", 0, "")
    plain = payload.keys() <= PLAIN_EVENT and choice.keys() <= PLAIN_CHOICE and delta.keys() <= _TEXT_DELTA
    if plain and choice["index"] == index:
        seen.note_spoken(index, delta)
    return seen.spoken


def pattern_of(before: bytes, after: bytes = b"") -> "re.Pattern[bytes] | None":
    """The pattern of an event with this beginning and end, with any id and time, and any text between the two.

    None: there is a doubt. Without an end, the beginning is the whole event.
    """
    whole = before + after
    found_id, found_created = _FIND_ID.search(before), _FIND_CREATED.search(before)
    if found_id is None or found_created is None or whole.count(b'"id"') != 1 or whole.count(b'"created"') != 1:
        return None
    spans = sorted([(*found_id.span("id"), _ID), (*found_created.span("created"), _CREATED)])
    (first, first_end, first_hole), (second, second_end, second_hole) = spans
    probes = {_ID: _PROBE_ID.encode(), _CREATED: b"%d" % _PROBE_CREATED}
    parts = before[:first], before[first_end:second], before[second_end:]
    probed = parts[0] + probes[first_hole] + parts[1] + probes[second_hole] + parts[2] + after
    if not _holds(whole, probed):
        return None
    start, middle, rest = map(re.escape, parts)
    text = _TEXT + re.escape(after) if after else b""
    return re.compile(start + first_hole + middle + second_hole + rest + text)


def _holds(whole: bytes, probed: bytes) -> bool:
    """Whether the probes stand in place of the id and of the time, and change nothing else."""
    try:
        expected: Any = orjson.loads(whole[6:])
        found: Any = orjson.loads(probed[6:])
    except ValueError:
        return False
    return isinstance(expected, dict) and found == {**expected, "id": _PROBE_ID, "created": _PROBE_CREATED}
