"""Pure: the directory: where each stream is, and which process owns a stream key.

`LocalDirectory` is the directory of a gateway of one process. Later ones ask the steward of a machine's workers, or a
store that many machines share. Which calls may wait follows from where they are made: `find_key` never waits and
tells what this process knows; `claim` answers with an awaitable only where the directory is elsewhere, so that the
fast way of a request, which has no place to wait, takes a request with a stream key only if `answers_at_once`;
`where` is for aiohttp's way and always awaited; the fast way asks `here`, and leaves what is not to aiohttp's way.

Every other directory has to pass `tests/cluster/test_directory.py`.
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import ServiceUnavailable
from gateway.stream.production import Production

PEER_RETRY_SECONDS = 1  # Retry-After of a refusal because the stream is at a peer


@dataclass(frozen=True, slots=True)
class Peer:
    """Another process of the same gateway."""

    name: str


Place = Production | Peer | None  # here, at a peer, nowhere


class Directory(Protocol):
    """Where streams are. At any moment a stream key of an owner belongs to one process at most."""

    @property
    def answers_at_once(self) -> bool:
        """Whether `claim` answers without waiting."""

    def find_key(self, owner: str, key: str) -> Place:
        """The stream that this owner runs or ran under this key, as far as this process knows. Never waits."""

    def claim(self, owner: str, key: str) -> Place | Awaitable[Place]:
        """Claim a stream key for this process. None: it is granted; else the place of the stream that has the key.

        The caller opens the stream in the call that gets the grant, or gives the grant back with `release`.
        """

    def release(self, owner: str, key: str) -> None:
        """Give back a grant under which no stream was opened; nothing happens if there is no grant."""

    def here(self, stream_id: str) -> Production | None:
        """The stream if this process has it. Never waits."""

    async def where(self, stream_id: str) -> Place:
        """The place of a stream."""


def production_at(place: Place) -> Production | None:
    """The stream if this process has it, None if no process has it. Raises `ServiceUnavailable` if a peer has it."""
    if isinstance(place, Peer):
        message = "this stream is at another process of the gateway; try again"
        raise ServiceUnavailable(message, retry_after=PEER_RETRY_SECONDS)
    return place
