"""Pure: the pattern of an event of an answer, by which the same event of a later answer is known without a parse.

In: an event that was read in full. Out: a pattern of its bytes, in which the id and the time may be any. The
invariant: what may differ is proven by a parse with probes in place of the id and the time.
"""

import re
from typing import Any

import orjson

_ID = rb"(?P<id>[A-Za-z0-9._:-]{1,128})"
_CREATED = rb"(?P<created>[1-9][0-9]{0,11})"
_TEXT = rb"(?P<text>[ !#-\[\]-\x7f]++)"  # the inside of a JSON string without escapes, in ASCII
_FIND_ID = re.compile(rb'"id": ?"(%b)"' % _ID)
_FIND_CREATED = re.compile(rb'"created": ?(%b),' % _CREATED)
_PROBE_ID, _PROBE_CREATED = "hole", 1


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
