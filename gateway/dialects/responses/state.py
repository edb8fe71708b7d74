"""Pure: what is remembered of a response by its frames: its id, and the numbers by which clients ask for the rest.

In: frames as the reader of the dialect gives them, or the first bytes of a whole response. Out: an id or a number.
"""

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from gateway.dialects.long_event import LONG_BYTES
from gateway.dialects.responses.events import NUMBER, number_in, taken_apart
from gateway.dialects.responses.kept_upstream import told_by_upstream
from gateway.dialects.responses.retold import Retelling, retold
from gateway.errors import RivergateError
from gateway.wire import json_text
from gateway.wire.json_members import Buffer
from gateway.wire.json_pieces import LongText

MAX_ID_CHARACTERS = 512
_HEAD = 4096  # bytes of a long event, or of a document that has only begun, in which the id is looked for
_KEY = b'"%b"' % NUMBER.encode()
_NUMBER = re.compile(rb'"%b"[ \t\n\r]*:[ \t\n\r]*([0-9]{1,18})[ \t\n\r]*[,}]' % NUMBER.encode())
_MEMBER = rb'[ \t\n\r]*\{[ \t\n\r]*"id"[ \t\n\r]*:[ \t\n\r]*"([!#-\[\]-~]{1,%d})"' % MAX_ID_CHARACTERS
_ID = re.compile(rb'"response"[ \t\n\r]*:' + _MEMBER)
_ID_OF_DOCUMENT = re.compile(_MEMBER)
_CONVERSATION = b'"conversation"'


class KeptResponses:
    """What the gateway has to know of responses that clients ask for again, or go on from."""

    def answer_id(self, first: bytes) -> str | None:
        """The id in the first frame of a stream, or in the first bytes of a whole answer; None: it has none."""
        if first[:_HEAD].lstrip().startswith(b"{"):
            return response_id_of(first)
        return response_id_in(first)

    def conversation_id(self, first: bytes) -> str | None:
        """The id of the answer's conversation in the same bytes; None: it tells of none, or is long."""
        if _CONVERSATION not in first or len(first) > LONG_BYTES:
            return None
        is_document = first.lstrip().startswith(b"{")
        told = _payload(first if is_document else taken_apart(first).data)
        response = told if is_document else told.get("response")
        return conversation_in(response) if isinstance(response, dict) else None

    def number(self, frame: bytes) -> int | None:
        """The number that the frame's event has in its answer; None: it has none."""
        return number_of(frame)

    def retold(self, frames: Sequence[bytes]) -> Retelling:
        """The JSON of the answer as far as its frames tell it, in short steps; None: they do not tell it."""
        return retold(frames)

    def told_by_upstream(
        self, content: Buffer, redact: Callable[[RivergateError], None]
    ) -> Generator[None, None, bytes | LongText]:
        """The JSON of the answer as its upstream keeps it, in short steps. Raises `UpstreamError`."""
        return told_by_upstream(content, redact)


KEPT = KeptResponses()


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


def conversation_in(holder: Mapping[str, Any]) -> str | None:
    """The id of the conversation that a request or a response belongs to; None: it names none."""
    value = holder.get("conversation")
    return _id_of(value if isinstance(value, dict) else {"id": value})


def number_of(frame: bytes) -> int | None:
    """The number of a frame; None: it has none."""
    if frame.count(_KEY) == 1 and (found := _NUMBER.search(frame)) is not None:
        return int(found[1])
    return number_in(_payload(taken_apart(frame).data))


def _payload(data: Buffer | None) -> dict[str, Any]:
    try:
        value = json_text.loads(data or b"")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _id_of(holder: Mapping[str, Any]) -> str | None:
    found = holder.get("id")
    return found if isinstance(found, str) and 0 < len(found) <= MAX_ID_CHARACTERS else None
