"""Shell: the rings of the feeds over a restart: positions stay good, so that subscribers miss and repeat nothing.

Written when a process ends properly, read and removed when the next one starts: positions of an older run must never
come back, so after a crash there is no file, the feeds begin a new epoch, and subscribers are told (`reset`).
"""

import base64
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

SUFFIX = ".feeds"  # behind the ledger's name
_VERSION = 1

_log = logging.getLogger("rivergate.feed")


@dataclass(frozen=True, slots=True)
class FeedState:
    """A ring, and what its source has to be asked for next."""

    epoch: str
    first_seq: int
    last_id: bytes
    frames: list[bytes]


def save(storage: Path, feeds: Mapping[str, FeedState]) -> None:
    """Write all states beside the ledger, whole or not at all."""
    path = _beside(storage)
    told = {
        name: {
            "epoch": state.epoch,
            "first_seq": state.first_seq,
            "last_id": state.last_id.decode("latin-1"),
            "frames": [base64.b64encode(frame).decode() for frame in state.frames],
        }
        for name, state in feeds.items()
        if state.frames
    }
    if not told:
        return
    temporary = path.with_name(path.name + ".new")
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(orjson.dumps({"version": _VERSION, "feeds": told}))
        temporary.replace(path)
    except OSError as error:
        _log.warning("the rings of the feeds are not kept", extra={"fields": {"reason": str(error)}})


def take(storage: Path) -> dict[str, FeedState]:
    """The states that the last process left, if it left any that can be read; they are removed."""
    path = _beside(storage)
    try:
        content = path.read_bytes()
        path.unlink()
        told = orjson.loads(content)
        if told["version"] != _VERSION:
            return {}
        return {name: _state(state) for name, state in told["feeds"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _log.warning("the rings of the feeds cannot be read", extra={"fields": {"reason": str(error)}})
        return {}


def _state(told: dict[str, Any]) -> FeedState:
    """Raises as reading does: a start must not fail on it later."""
    epoch, first_seq = told["epoch"], told["first_seq"]
    if not (isinstance(epoch, str) and epoch.isalnum() and isinstance(first_seq, int) and first_seq >= 0):
        raise ValueError("this is no position of a feed")
    frames = [base64.b64decode(frame, validate=True) for frame in told["frames"]]
    return FeedState(epoch, first_seq, told["last_id"].encode("latin-1"), frames)


def _beside(storage: Path) -> Path:
    return storage.with_name(storage.name + SUFFIX)
