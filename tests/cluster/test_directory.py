"""The contract of the directory: what every answer to "where is this stream" is, tried on each of them."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.cluster.directory import Directory, Peer, Place, production_at
from gateway.cluster.local_directory import LocalDirectory
from gateway.config import StreamSettings
from gateway.endings import Ending
from gateway.errors import RivergateError, ServiceUnavailable
from gateway.stream.description import AnswerFacts, AnswerProgress, StreamFacts
from gateway.stream.hub import Hub
from gateway.stream.stream import Stream

from .peer_directory import PeerDirectory


class Talk:
    """A production that runs in a hub."""

    def __init__(self, hub: Hub, name: str, key: str | None = None) -> None:
        self.id = name
        self.owner = "me"
        self.key = key
        self.fingerprint = b""
        self.announced = True
        self.stream = Stream(name, "e1", StreamSettings(), self)
        self._hub = hub
        hub.add_stream(self)

    def headers(self) -> dict[str, str]:
        return {}

    def progress(self) -> AnswerProgress:
        return AnswerProgress()

    def facts(self) -> StreamFacts:
        return StreamFacts(1, "m", "chat", AnswerFacts())

    def describe(self) -> dict[str, Any]:
        return {"id": self.id}

    def announce(self) -> None: ...

    def when_decided(self, call: Callable[[RivergateError | None], None]) -> None:
        call(None)

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def stop(self, ending: Ending) -> None:
        self.stream.close(ending, [])
        self._hub.end(self.id)


@pytest.fixture
def hub() -> Hub:
    return Hub(StreamSettings())


@pytest.fixture(params=["local", "peers"])
def directory(request: pytest.FixtureRequest, hub: Hub) -> Directory:
    return LocalDirectory(hub) if request.param == "local" else PeerDirectory("here", hub, {})


async def claimed(directory: Directory, owner: str, key: str) -> Place:
    place = directory.claim(owner, key)
    assert not (isinstance(place, Awaitable) and directory.answers_at_once)
    return await place if isinstance(place, Awaitable) else place


async def test_a_stream_is_here_or_nowhere(directory: Directory, hub: Hub) -> None:
    talk = Talk(hub, "a")
    assert await directory.where("a") is talk
    assert directory.here("a") is talk
    assert await directory.where("b") is None
    assert directory.here("b") is None
    talk.stop(Ending.COMPLETED)
    found = await directory.where("a")
    assert not isinstance(found, Peer)
    assert found is not None  # the ended stream is kept for replay
    assert (found.id, found.stream.ending) == ("a", Ending.COMPLETED)


async def test_a_key_is_granted_and_then_found_with_the_stream_that_has_it(directory: Directory, hub: Hub) -> None:
    assert directory.find_key("me", "k") is None
    assert await claimed(directory, "me", "k") is None
    talk = Talk(hub, "a", "k")
    assert directory.find_key("me", "k") is talk
    assert await claimed(directory, "me", "k") is talk
    assert directory.find_key("you", "k") is None
    assert await claimed(directory, "you", "k") is None  # a key belongs to its owner


async def test_a_grant_that_no_stream_came_of_is_given_back_and_another_is_granted(directory: Directory) -> None:
    for _ in range(2):
        assert await claimed(directory, "me", "k") is None
        directory.release("me", "k")
    directory.release("me", "k")  # a release without a grant does nothing


async def test_a_release_takes_nothing_from_a_stream_that_has_the_key(directory: Directory, hub: Hub) -> None:
    assert await claimed(directory, "me", "k") is None
    talk = Talk(hub, "a", "k")
    directory.release("me", "k")
    assert await claimed(directory, "me", "k") is talk


def peers(hub: Hub) -> tuple[PeerDirectory, PeerDirectory]:
    claims: dict[tuple[str, str], str] = {}
    return PeerDirectory("here", hub, claims), PeerDirectory("there", Hub(StreamSettings()), claims, {"a": "here"})


async def test_of_two_processes_one_is_granted_a_key_and_the_other_is_told_who_has_it(hub: Hub) -> None:
    here, there = peers(hub)
    assert await claimed(here, "me", "k") is None
    assert await claimed(there, "me", "k") == Peer("here")
    there.release("me", "k")  # a process without the grant cannot release it
    assert await claimed(there, "me", "k") == Peer("here")
    here.release("me", "k")
    assert await claimed(there, "me", "k") is None


async def test_a_stream_of_another_process_is_at_a_peer(hub: Hub) -> None:
    here, there = peers(hub)
    talk = Talk(hub, "a")
    assert (await here.where("a"), await there.where("a")) == (talk, Peer("here"))


@pytest.mark.parametrize("make", [lambda hub: None, lambda hub: Talk(hub, "a")])
async def test_a_stream_that_is_here_or_nowhere_is_what_it_is(hub: Hub, make: Callable[[Hub], Place]) -> None:
    place = make(hub)
    assert production_at(place) is place


def test_a_stream_at_a_peer_is_refused_for_now() -> None:
    with pytest.raises(ServiceUnavailable) as caught:
        production_at(Peer("worker-2"))
    assert caught.value.retry_after == 1
