"""Shell: the merges of this process, by the sets of their channels and by their epochs.

A merge is made for the first subscriber of a set. Without subscribers it rests, and is forgotten after a while: until
then its positions are known, and who comes back goes on exactly.
"""

import asyncio
import re
import secrets
from collections.abc import Callable, Sequence
from functools import partial

from gateway.config import StreamSettings
from gateway.merge.channel import Channel
from gateway.merge.merge import MEMORY, Memory, Merge, Place
from gateway.stream.hub import Hub

MIN_REST_SECONDS = 60.0  # how long a merge is known without subscribers, if `stream.retain_seconds` is less
MAX_RESTING = 1000  # merges without subscribers; beyond it the one that has rested longest is forgotten
EPOCH_BYTES = 6  # random, in hex

# `<epoch>-<seq>` in a merged log, or `<epoch>p<number of the backlog>-<number of the event>` in a backlog.
_EVENT_ID = re.compile(r"([0-9a-f]{12})(?:p([0-9]{1,9}))?-([0-9]{1,18})")


def names_of(channels: Sequence[Channel]) -> tuple[str, ...]:
    """The names of a set of channels, in an order that depends on nothing else."""
    return tuple(sorted(channel.name for channel in channels))


class Merges:
    """All merges."""

    def __init__(
        self,
        hub: Hub,
        limits: Callable[[], StreamSettings],
        retry_ms: Callable[[], int],
        memory: Memory = MEMORY,
    ) -> None:
        """Begin with none. `retry_ms`: when a subscriber that is sent away is to come again."""
        self._memory = memory
        self._hub = hub
        self._limits = limits
        self._retry_ms = retry_ms
        self._by_set: dict[tuple[str, ...], Merge] = {}
        self._by_epoch: dict[str, Merge] = {}
        self._resting: dict[
            Merge, float
        ] = {}  # until when, on the loop's clock; the one to be forgotten first in front
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many merges are known."""
        return len(self._by_epoch)

    def place_of(self, last_event_id: str) -> Place | None:
        """The place behind the event with this id; None if the id is not known (any more)."""
        matched = _EVENT_ID.fullmatch(last_event_id)
        merge = None if matched is None else self._by_epoch.get(matched[1])
        if matched is None or merge is None:
            return None
        count = int(matched[3]) + 1
        try:
            return merge.place_at(count) if matched[2] is None else merge.place_in_backlog(int(matched[2]), count)
        except LookupError:
            return None

    def merge_of(self, channels: Sequence[Channel]) -> Merge:
        """The merge of these channels, made if there is none. Whoever wants to join it does so in the same turn."""
        names = names_of(channels)
        merge = self._by_set.get(names)
        if merge is None or merge.is_outdated:
            merge = Merge(secrets.token_hex(EPOCH_BYTES), channels, self._limits(), self._retry_ms, self._memory)
            self._by_set[names] = self._by_epoch[merge.epoch] = merge
            self._hub.add_merged(merge.stream)
            merge.stream.when_unread(partial(self._rest, merge))
        self._rest(merge)
        return merge

    def close(self) -> None:
        """Send all subscribers away, to come again when the gateway has restarted."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for merge in list(self._by_epoch.values()):
            merge.close()

    # --- forgetting

    def _rest(self, merge: Merge) -> None:
        """Forget this merge after a while, unless it has subscribers then."""
        if self._by_epoch.get(merge.epoch) is not merge:
            return
        loop = asyncio.get_running_loop()
        self._resting.pop(merge, None)
        self._resting[merge] = loop.time() + max(self._limits().retain_seconds, MIN_REST_SECONDS)
        if len(self._resting) > MAX_RESTING:
            self._forget_next()
        if self._timer is None:
            self._timer = loop.call_later(MIN_REST_SECONDS, self._forget_due)

    def _forget_due(self) -> None:
        loop = asyncio.get_running_loop()
        while self._resting and next(iter(self._resting.values())) <= loop.time():
            self._forget_next()
        self._timer = loop.call_later(MIN_REST_SECONDS, self._forget_due) if self._resting else None

    def _forget_next(self) -> None:
        """Forget the merge that has rested longest; if it has subscribers, it rests again when they have left."""
        merge = next(iter(self._resting))
        del self._resting[merge]
        if merge.stream.is_read:
            return
        del self._by_epoch[merge.epoch]
        names = names_of(merge.channels)
        if self._by_set.get(names) is merge:
            del self._by_set[names]
        self._hub.remove_merged(merge.stream)
