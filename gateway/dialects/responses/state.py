"""Pure: what is remembered of a response by its frames: its id, and the numbers by which clients ask for the rest.

In: frames as the reader of the dialect gives them, whose numbers go up. Out: an id, a number, the place of a frame,
or the response as far as the frames tell it.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from gateway.dialects.long_event import LONG_BYTES
from gateway.dialects.responses.events import ITEM_DONE, NUMBER, TERMINAL, number_in, response_in, taken_apart
from gateway.errors import StreamAborted
from gateway.wire import json_text
from gateway.wire.json_members import Buffer

MAX_ID_CHARACTERS = 512
_HEAD = 4096  # bytes of a long event, or of a document that has only begun, in which the id is looked for
_KEY = b'"%b"' % NUMBER.encode()
_NUMBER = re.compile(rb'"%b"[ \t\n\r]*:[ \t\n\r]*([0-9]{1,18})[ \t\n\r]*[,}]' % NUMBER.encode())
_MEMBER = rb'[ \t\n\r]*\{[ \t\n\r]*"id"[ \t\n\r]*:[ \t\n\r]*"([!#-\[\]-~]{1,%d})"' % MAX_ID_CHARACTERS
_ID = re.compile(rb'"response"[ \t\n\r]*:' + _MEMBER)
_ID_OF_DOCUMENT = re.compile(_MEMBER)


class KeptResponses:
    """What the gateway has to know of responses that clients ask for again, or go on from."""

    def answer_id(self, first: bytes) -> str | None:
        """The id in the first frame of a stream, or in the first bytes of a whole answer; None: it has none."""
        if first[:_HEAD].lstrip().startswith(b"{"):
            return response_id_of(first)
        return response_id_in(first)

    def number(self, frame: bytes) -> int | None:
        """The number that the frame's event has in its answer; None: it has none."""
        return number_of(frame)

    def document(self, frames: Sequence[bytes]) -> bytes | None:
        """The JSON of the answer as far as these frames tell it: the whole answer, or that it is on its way."""
        if not frames:
            return None
        last = taken_apart(frames[-1]).data or b""
        if (event := _payload(last)).get("type") in TERMINAL:
            return _cancelled(event.get("response")) or response_in(last)
        begun = _payload(taken_apart(frames[0]).data).get("response")
        if not isinstance(begun, dict):
            return None
        mark = ITEM_DONE.encode()
        told = [_payload(taken_apart(frame).data) for frame in frames if mark in frame]
        items = [event["item"] for event in told if event.get("type") == ITEM_DONE and "item" in event]
        return json_text.dumps({**begun, "output": items})


KEPT = KeptResponses()


def _cancelled(response: Any) -> bytes | None:
    """The JSON of a response that somebody has stopped at the gateway; None: it has ended in another way."""
    error = response.get("error") if isinstance(response, dict) else None
    if not isinstance(error, dict) or error.get("code") != StreamAborted.code:
        return None
    return json_text.dumps({**response, "status": "cancelled", "error": None})


def response_id_in(frame: bytes) -> str | None:
    """The id of the response of which a frame tells; None: it names none, or is long and names it far behind."""
    if len(frame) > LONG_BYTES:
        found = _ID.search(frame, 0, _HEAD)
        return None if found is None else found[1].decode()
    response = _payload(taken_apart(frame).data).get("response")
    return _id_of(response) if isinstance(response, dict) else None


def response_id_of(document: Buffer) -> str | None:
    """The id of a whole response, or of one that has only begun, if the id comes first; None: it has none."""
    if (found := _ID_OF_DOCUMENT.match(document)) is not None:
        return found[1].decode()
    return _id_of(_payload(document)) if len(document) <= LONG_BYTES else None


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
    return found if isinstance(found, str) and 0 < len(found) <= MAX_ID_CHARACTERS else None
