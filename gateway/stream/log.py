"""Pure: the append-only log of one stream. Producers append frames; subscribers read, each from its own position.

Positions are sequence numbers, counted from 0 over the life of an epoch. The end is state, one `Ending`, never a
message that could be lost. The invariant: `first_seq <= position <= next_seq` for every position that can be read,
and a closed log never changes except by trimming.
"""

from gateway.endings import Ending
from gateway.wire import sse

OWN_PREFIX = "rivergate."  # before the name of a control event that the source of a feed uses for its own events
_NONE: frozenset[str] = frozenset()
WINDOW = 512  # frames copied out of the log at a time: about what one piece holds, not the whole of a long log


class StreamLog:
    """Frames of one stream, in order."""

    __slots__ = (
        "_foreign_names",
        "_held",
        "bytes",
        "ending",
        "epoch",
        "first_seq",
        "forgotten_bytes",
        "keepalive",
        "next_seq",
        "terminal",
    )

    def __init__(
        self, epoch: str, first_seq: int = 0, terminal: bytes = b"", keepalive: bytes = sse.KEEPALIVE
    ) -> None:
        self.epoch = epoch
        self.terminal = terminal  # the dialect's bytes that follow the last frame; b"" if it has none
        self.keepalive = keepalive  # the dialect's frame that keeps the connection of a waiting subscriber alive
        self.first_seq = first_seq
        self.next_seq = first_seq
        self.bytes = 0  # the size of the frames that are held
        self.forgotten_bytes = 0  # the size of the frames that were trimmed
        self.ending: Ending | None = None
        self._held: list[bytes] = []  # the frames that are held, oldest first

    def __len__(self) -> int:
        """How many frames are held."""
        return len(self._held)

    def append(self, frame: bytes) -> None:
        """Append one frame. Raises `ValueError` once the log is closed."""
        if self.ending is not None:
            raise ValueError("the log is closed")
        self._held.append(frame)
        self.next_seq += 1
        self.bytes += len(frame)

    def extend(self, frames: list[bytes]) -> None:
        """Append frames in order. Raises `ValueError` once the log is closed."""
        if self.ending is not None:
            raise ValueError("the log is closed")
        self._held += frames
        self.next_seq += len(frames)
        self.bytes += sum(map(len, frames))

    def close(self, ending: Ending) -> None:
        """Write the end. The first reason wins; closing again changes nothing."""
        if self.ending is None:
            self.ending = ending

    @property
    def foreign_names(self) -> frozenset[str]:
        """The names of control events that the source of the log uses for its own events."""
        # Only the log of a feed has any, so that no completion pays for the attribute.
        return getattr(self, "_foreign_names", _NONE)

    def avoid(self, name: str) -> None:
        """Give control events of this name another one from now on, since the source of the log uses it."""
        self._foreign_names = self.foreign_names | {name}

    def control(self, name: str, fields: dict[str, object]) -> bytes:
        """The frame of a control event of this log."""
        return sse.control(f"{OWN_PREFIX}{name}" if name in self.foreign_names else name, fields)

    def read(self, seq: int, max_bytes: int) -> list[bytes]:
        """Frames from `seq` on: at most `max_bytes` bytes, but at least one frame if there is any.

        Raises `LookupError` for a position that was trimmed or does not exist yet.
        """
        if seq == self.first_seq and self.bytes <= max_bytes:
            return self._held[:]  # as for the first piece of nearly every subscriber
        self.check(seq)
        frames: list[bytes] = []
        for start in range(seq - self.first_seq, len(self._held), WINDOW):
            window = self._held[start : start + WINDOW]
            size = sum(map(len, window))
            if size > max_bytes:
                return frames + _first_of(window, max_bytes, at_least=0 if frames else 1)
            max_bytes -= size
            frames += window
        return frames

    def check(self, seq: int) -> None:
        """Raise `LookupError` for a position that was trimmed or does not exist yet."""
        if not self.first_seq <= seq <= self.next_seq:
            raise LookupError(f"position {seq} is not in {self.first_seq}..{self.next_seq}")

    def bytes_from(self, seq: int) -> int:
        """The size of the frames that a subscriber at `seq` has still to be sent."""
        start = max(seq - self.first_seq, 0)
        return sum(map(len, self._held[start:])) if start else self.bytes

    def frames(self) -> list[bytes]:
        """All frames that are held."""
        return list(self._held)

    def trim(self, seq: int) -> None:
        """Forget the frames before `seq`."""
        count = min(max(seq - self.first_seq, 0), len(self._held))
        size = sum(map(len, self._held[:count]))
        self.bytes -= size
        self.forgotten_bytes += size
        del self._held[:count]
        self.first_seq += count

    def trim_to(self, max_bytes: int, seq: int) -> None:
        """Forget the oldest frames until at most `max_bytes` are held, but none from `seq` on."""
        excess, count = self.bytes - max_bytes, 0
        for frame in self._held[: max(seq - self.first_seq, 0)]:
            if excess <= 0:
                break
            excess -= len(frame)
            count += 1
        self.trim(self.first_seq + count)


def _first_of(frames: list[bytes], max_bytes: int, *, at_least: int) -> list[bytes]:
    """The first of these frames: as many as `max_bytes` hold, but `at_least` this number."""
    for count, frame in enumerate(frames):
        max_bytes -= len(frame)
        if max_bytes < 0:
            return frames[: max(count, at_least)]
    return frames
