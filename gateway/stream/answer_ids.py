"""Pure: the answers that clients may ask for again, or the conversations that they go on with, by upstreams' ids.

In: ids, whose they are, and which upstream made them. Out: what is known of an id, for its owner alone. The
invariant: memory is bounded, since only the newest `MAX_IDS` are known; and the collector of cyclic garbage does not
walk over them, since it tracks no plain tuple of text.
"""

from collections import OrderedDict
from typing import NamedTuple

MAX_IDS = 100_000  # 40 MB at most
MAX_ID_CHARACTERS = 256


class KnownAnswer(NamedTuple):
    """An answer, or a conversation, that has an id. `stream_id`: of the answer's stream; "" if it has none."""

    upstream: str
    model_id: str
    stream_id: str


class AnswerIds:
    """The answers, or the conversations, by their owners and ids."""

    def __init__(self, max_ids: int = MAX_IDS) -> None:
        self._max_ids = max_ids
        # The newest last. To find its oldest entry, a dict passes by all that were taken out before: 300 us each.
        self._known: OrderedDict[tuple[str, str], tuple[str, ...]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def remember(self, owner: str, answer_id: str, answer: KnownAnswer) -> None:
        """Know this answer from now on, unless its id is longer than any."""
        if len(answer_id) <= MAX_ID_CHARACTERS:
            self._known.pop((owner, answer_id), None)
            self._known[owner, answer_id] = tuple(answer)
            if len(self._known) > self._max_ids:
                self._known.popitem(last=False)

    def find(self, owner: str, answer_id: str) -> KnownAnswer | None:
        """The answer with this id, if it is this owner's."""
        known = self._known.get((owner, answer_id))
        return None if known is None else KnownAnswer(*known)

    def forget(self, owner: str, answer_id: str) -> None:
        """Know this answer no more."""
        self._known.pop((owner, answer_id), None)
