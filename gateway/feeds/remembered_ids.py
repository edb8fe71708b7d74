"""Pure: the ids of published events that are remembered, so that no event is taken twice: a number of the newest."""

from collections import OrderedDict
from collections.abc import Mapping


class RememberedIds:
    """The newest ids, each with the number of its event in the log."""

    __slots__ = ("_limit", "_seqs")

    def __init__(self, limit: int, known: Mapping[str, int]) -> None:
        """Begin with the ids of an earlier process, the oldest first."""
        self._limit = limit
        # To find its oldest entry, a dict passes by all that were taken out before: 17 us an id, if it holds 10,000.
        self._seqs = OrderedDict(known)
        self._forget()

    def __len__(self) -> int:
        return len(self._seqs)

    def find(self, event_id: str) -> int | None:
        """The number of the event with this id; None if the id is not remembered."""
        return self._seqs.get(event_id)

    def add(self, event_id: str, seq: int) -> None:
        """Remember an id that is not remembered; the oldest is forgotten for it, if there are too many."""
        self._seqs[event_id] = seq
        self._forget()

    def all(self) -> dict[str, int]:
        """The ids, the oldest first, each with the number of its event."""
        return dict(self._seqs)

    def _forget(self) -> None:
        while len(self._seqs) > self._limit:
            self._seqs.popitem(last=False)
