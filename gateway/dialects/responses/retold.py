"""Pure: the response as far as the frames of its stream tell it, for a client that asks for it again.

In: frames as the reader of the dialect gives them. Out, in short steps: the JSON of the response: all of it once the
terminal event has come; before, as it began, with the items that are complete.
"""

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

from gateway.dialects.long_event import LONG_BYTES
from gateway.dialects.responses.events import ITEM_DONE, TERMINAL, response_in
from gateway.dialects.responses.shapes import RETOLD_EVENT
from gateway.errors import StreamAborted
from gateway.wire import json_text
from gateway.wire.json_abridged import Abridger
from gateway.wire.json_pieces import Elements, JoinedText, LongText, Members, PieceWriter

_MARK = ITEM_DONE.encode()
_STEP_BYTES = 1 << 20  # of frames in which one step looks for items that are complete: 1 ms
_PLAIN = PieceWriter()

Retelling = Generator[None, None, bytes | LongText | None]


class _RetoldEvent(NamedTuple):
    """An event, and what writes the values in it. `data`: its JSON, if it is short."""

    members: dict[str, Any]
    data: bytes
    writer: PieceWriter

    @property
    def response(self) -> dict[str, Any] | None:
        """The response of which it tells."""
        found = self.members.get("response")
        return found if isinstance(found, dict) else None


def retold(frames: Sequence[bytes]) -> Retelling:
    """The JSON of the response that these frames tell; None: they do not tell it.

    `frames`: the first and the last one of a stream that has ended, or all so far of one that runs.
    """
    if not frames:
        return None
    try:
        last = yield from _read(frames[-1])
        if last.members.get("type") in TERMINAL and last.response is not None:
            return _ended(last, last.response)
        begun = yield from _read(frames[0])
        return None if begun.response is None else (yield from _running(begun, begun.response, frames))
    except ValueError:  # more than can be read, or nested more deeply than can be written
        return None


def _ended(event: _RetoldEvent, response: dict[str, Any]) -> bytes | LongText:
    """The response of a terminal event; one that somebody has stopped at the gateway is cancelled."""
    error = response.get("error")
    if isinstance(error, dict) and error.get("code") == StreamAborted.code:
        return event.writer.write({**response, "status": "cancelled", "error": None})
    return response_in(event.data) if event.data else event.writer.write(response)


def _running(begun: _RetoldEvent, response: dict[str, Any], frames: Sequence[bytes]) -> Retelling:
    """The response of the first event, with the items that are complete."""
    items, looked_at, size = Elements(), 0, len(frames[0])
    for frame in frames:
        looked_at += len(frame)
        if looked_at > _STEP_BYTES:
            looked_at = 0
            yield
        if _MARK not in frame:
            continue
        event = yield from _read(frame)
        if event.members.get("type") == ITEM_DONE and "item" in event.members:
            items.append(event.writer.write(event.members["item"]))
            size += len(frame)
    members: Members = {}
    for number, (name, value) in enumerate(response.items()):
        if begun.writer.is_left_out(name):
            members[number] = begun.writer.write_inner({name: value})
        else:
            members[name] = begun.writer.write(value)
    members["output"] = items
    text = JoinedText(members)
    return bytes(text) if size <= LONG_BYTES else text


def _read(frame: bytes) -> Generator[None, None, _RetoldEvent]:
    """The event of a frame; a long one is read in short. Raises `ValueError`."""
    start, end = frame.find(b"data: ") + len(b"data: "), len(frame) - len(b"\n\n")
    if len(frame) <= LONG_BYTES:
        data = frame[start:end]
        return _RetoldEvent(_object(data), data, _PLAIN)
    abridger = Abridger(frame, RETOLD_EVENT, start, end)
    yield from abridger.steps()
    abridged = abridger.abridged()
    yield
    return _RetoldEvent(_object(abridged.text), b"", PieceWriter(abridged))


def _object(text: bytes) -> dict[str, Any]:
    value = json_text.loads(text)
    return value if isinstance(value, dict) else {}
