"""Shell: keeps the rings of the feeds over a restart, so that positions stay valid and no subscriber misses an event.

The file is written when a process ends properly, and read and removed when the next one starts: positions of an older
run must never come back. After a crash there is no file: the feeds begin a new epoch, and subscribers get a `reset`.
"""

import base64
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

SUFFIX = ".feeds"  # added to the name of the file with the books
_VERSION = 1

_log = logging.getLogger("rivergate.feed")


@dataclass(frozen=True, slots=True)
class FeedState:
    """A saved ring, and the id of the source's last event, behind which the source is asked to go on.

    A feed that clients publish to has the remembered ids instead, each with the number of its event, and the time of
    the last publication, in Unix seconds.
    """

    epoch: str
    first_seq: int
    last_id: bytes
    frames: list[bytes]
    ids: dict[str, int] = field(default_factory=dict)
    last_at: float | None = None


def save(storage: Path, feeds: Mapping[str, FeedState]) -> None:
    """Write all rings beside the file with the books, completely or not at all."""
    path = _beside(storage)
    saved = {
        name: {
            "epoch": state.epoch,
            "first_seq": state.first_seq,
            "last_id": state.last_id.decode("latin-1"),
            "frames": [base64.b64encode(frame).decode() for frame in state.frames],
            "ids": state.ids,
            "last_at": state.last_at,
        }
        for name, state in feeds.items()
        if state.frames
    }
    if not saved:
        return
    temporary = path.with_name(path.name + ".new")
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(orjson.dumps({"version": _VERSION, "feeds": saved}))
        temporary.replace(path)
    except OSError as error:
        _log.warning("the rings of the feeds are not kept", extra={"fields": {"reason": str(error)}})


def take(storage: Path) -> dict[str, FeedState]:
    """The rings that the last process left, if they can be read; the file is removed."""
    path = _beside(storage)
    try:
        content = path.read_bytes()
        path.unlink()
        saved = orjson.loads(content)
        if saved["version"] != _VERSION:
            return {}
        return {name: _state(state) for name, state in saved["feeds"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _log.warning("the rings of the feeds cannot be read", extra={"fields": {"reason": str(error)}})
        return {}


def _state(saved: dict[str, Any]) -> FeedState:
    """A ring from the file. Raises what `take` catches: a bad file is noticed here, not at the first use."""
    epoch, first_seq = saved["epoch"], saved["first_seq"]
    if not (isinstance(epoch, str) and epoch.isalnum() and isinstance(first_seq, int) and first_seq >= 0):
        raise ValueError("this is no position of a feed")
    frames = [base64.b64decode(frame, validate=True) for frame in saved["frames"]]
    ids, last_at = saved.get("ids", {}), saved.get("last_at")
    is_time = last_at is None or isinstance(last_at, int | float)
    if not (is_time and isinstance(ids, dict) and all(isinstance(seq, int) and seq >= 0 for seq in ids.values())):
        raise ValueError("these are no ids of events")
    return FeedState(epoch, first_seq, saved["last_id"].encode("latin-1"), frames, ids, last_at)


def _beside(storage: Path) -> Path:
    return storage.with_name(storage.name + SUFFIX)
