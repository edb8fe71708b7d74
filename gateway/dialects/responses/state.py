"""Pure: what is remembered of a response by its frames: its id, and the numbers by which clients ask for the rest.

In: frames as the reader of the dialect gives them, whose numbers go up. Out: an id, a number, the place of a frame.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from gateway.dialects.long_event import LONG_BYTES
from gateway.dialects.responses.events import NUMBER, number_in, taken_apart
from gateway.wire import json_text
from gateway.wire.json_members import Buffer

MAX_ID_BYTES = 512
_HEAD = 4096  # bytes of a long event in which its id is looked for
_KEY = b'"%b"' % NUMBER.encode()
_NUMBER = re.compile(rb'"%b"[ \t\n\r]*:[ \t\n\r]*([0-9]{1,18})[ \t\n\r]*[,}]' % NUMBER.encode())
_ID = re.compile(rb'"response"[ \t\n\r]*:[ \t\n\r]*\{[ \t\n\r]*"id"[ \t\n\r]*:[ \t\n\r]*"([!#-\[\]-~]{1,512})"')


def response_id_in(frame: bytes) -> str | None:
    """The id of the response of which a frame tells; None: it names none, or is long and names it far behind."""
    if len(frame) > LONG_BYTES:
        found = _ID.search(frame, 0, _HEAD)
        return None if found is None else found[1].decode()
    response = _payload(taken_apart(frame).data).get("response")
    return _id_of(response) if isinstance(response, dict) else None


def response_id_of(document: Buffer) -> str | None:
    """The id of a whole response, a short one; None: it has none."""
    return _id_of(_payload(document))


def number_of(frame: bytes) -> int | None:
    """The number of a frame; None: it has none."""
    if frame.count(_KEY) == 1 and (found := _NUMBER.search(frame)) is not None:
        return int(found[1])
    return number_in(_payload(taken_apart(frame).data))


def first_behind(frames: Sequence[bytes], number: int) -> int:
    """The index of the first frame with a number above this one; the number of frames if there is none.

    It looks at few of the frames, since their numbers go up.
    """
    return bisect_right(frames, number, key=lambda frame: found if (found := number_of(frame)) is not None else -1)


def frames_behind(frames: Sequence[bytes], number: int) -> Sequence[bytes]:
    """The frames with a number above this one, in their order."""
    return frames[first_behind(frames, number) :]


def _payload(data: Buffer | None) -> dict[str, Any]:
    try:
        value = json_text.loads(data or b"")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _id_of(response: dict[str, Any]) -> str | None:
    found = response.get("id")
    return found if isinstance(found, str) and 0 < len(found) <= MAX_ID_BYTES else None
