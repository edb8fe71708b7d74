"""The service runs with another bank and another directory, which answer a turn later and know of peers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.access.callers import open_caller
from gateway.access.sqlite_books import SqliteBooks
from gateway.cluster.directory import Place
from gateway.cluster.local_directory import LocalDirectory
from gateway.config import Config
from gateway.errors import ServiceUnavailable
from gateway.run.service import Seams, Service
from gateway.simulate import Provider, Script
from gateway.stream.hub import Hub
from tests.access.books import new_key, new_secret
from tests.access.later_bank import LaterBank
from tests.cluster.peer_directory import PeerDirectory

OPEN = "an owner in open mode"
PRICES = {"input_usd_per_mtok": Decimal(1), "output_usd_per_mtok": Decimal(1)}


class Client:
    """Asks a service that runs in this process."""

    def __init__(self, session: ClientSession, port: int) -> None:
        self._session = session
        self._url = f"http://127.0.0.1:{port}/v1"

    async def post(
        self, path: str, secret: str = OPEN, *, stream: bool = True, stream_key: str | None = None
    ) -> tuple[int, dict[str, str], str]:
        body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": "hello"}]}
        sent = {"Authorization": f"Bearer {secret}"}
        if stream_key is not None:
            sent["X-Stream-Key"] = stream_key
        async with self._session.post(self._url + path, json=body, headers=sent) as answer:
            return answer.status, dict(answer.headers), await answer.text()

    async def get(self, path: str) -> tuple[int, str]:
        async with self._session.get(self._url + path, headers={"Authorization": f"Bearer {OPEN}"}) as answer:
            return answer.status, await answer.text()


@asynccontextmanager
async def running(folder: Path, **parts: Any) -> AsyncIterator[Client]:
    """A service in front of a simulated provider, and a client of it."""
    async with AsyncExitStack() as stack:
        provider = await Provider.start(script=Script(ttft_ms=1, gap_ms=1, tokens=5))
        stack.push_async_callback(provider.close)
        upstream = {"name": "alpha", "base_url": provider.base_url, "models": [{"id": "m", **PRICES}]}
        settings = {
            "server": {"listen": "127.0.0.1:0"},
            "storage": {"path": f"{folder}/s.db"},
            "upstreams": [upstream],
        }
        service = Service(Config.model_validate(settings), seams=Seams(**parts), tunes_collector=False)
        await service.start()
        stack.push_async_callback(service.stop)
        yield Client(await stack.enter_async_context(ClientSession()), service.port)


@pytest.fixture
def create_key(tmp_path: Path) -> Callable[..., str]:
    def create(**limits: Any) -> str:
        books, secret = SqliteBooks.open(tmp_path / "s.db"), new_secret()
        books.create(new_key(secret, **limits))
        books.close()
        return secret

    return create


async def test_a_key_with_limits_waits_for_a_bank_elsewhere_on_every_way(
    tmp_path: Path, create_key: Callable[..., str]
) -> None:
    bank = LaterBank()
    secret = create_key(balance_microusd=1_000_000, rpm=100, max_streams=10)
    async with running(tmp_path, build_bank=lambda books, keys: bank) as client:
        status, headers, text = await client.post("/chat/completions", secret)
        assert (status, text.endswith("data: [DONE]\n\n")) == (200, True)
        assert int(headers["x-credits-balance-microdollars"]) < 1_000_000
        assert (await client.post("/chat/completions", secret, stream=False))[0] == 200
        assert (await client.post("/streams", secret))[0] == 201
    assert bank.waits == 3
    assert len(bank.booked) == 3  # the stop of the service booked the detached stream


async def test_a_key_without_limits_waits_for_nothing(tmp_path: Path, create_key: Callable[..., str]) -> None:
    bank = LaterBank()
    secret = create_key()
    async with running(tmp_path, build_bank=lambda books, keys: bank) as client:
        assert (await client.post("/chat/completions", secret))[0] == 200
    assert (bank.waits, len(bank.booked)) == (0, 1)


async def test_a_refusal_of_a_bank_elsewhere_reaches_the_client(
    tmp_path: Path, create_key: Callable[..., str]
) -> None:
    poor, busy = create_key(balance_microusd=0), create_key(rpm=1)
    async with running(tmp_path, build_bank=lambda books, keys: LaterBank()) as client:
        for stream in (True, False):
            assert (await client.post("/chat/completions", poor, stream=stream))[0] == 402
        statuses = [(await client.post("/chat/completions", busy))[0] for _ in range(2)]
        assert statuses == [200, 429]


class UnreachableDirectory(LocalDirectory):
    """A directory that knows of no stream key and can give none."""

    def claim(self, owner: str, key: str) -> Place:
        raise ServiceUnavailable("the directory cannot be reached")


@pytest.mark.parametrize("path", ["/chat/completions", "/streams"], ids=["the fast way", "aiohttp's way"])
async def test_a_claim_that_fails_gives_the_place_among_the_running_requests_back(
    tmp_path: Path, create_key: Callable[..., str], path: str
) -> None:
    secret = create_key(balance_microusd=1_000_000, max_streams=1)
    async with running(tmp_path, build_directory=UnreachableDirectory) as client:
        for _ in range(2):
            assert (await client.post(path, secret, stream_key="any"))[0] == 503
        assert (await client.post("/chat/completions", secret))[0] == 200


def joined_to(directories: list[PeerDirectory], **shared: Any) -> Callable[[Hub], PeerDirectory]:
    def build(hub: Hub) -> PeerDirectory:
        directories.append(PeerDirectory("here", hub, **shared))
        return directories[-1]

    return build


async def test_requests_of_one_stream_key_at_the_same_moment_share_one_stream(tmp_path: Path) -> None:
    directories: list[PeerDirectory] = []
    async with running(tmp_path, build_directory=joined_to(directories, claims={})) as client:
        answers = await asyncio.gather(*(client.post("/chat/completions", stream_key="shared") for _ in range(5)))
        again = await client.post("/chat/completions", stream_key="shared")
    assert {status for status, _, _ in [*answers, again]} == {200}
    assert len({headers["x-stream-id"] for _, headers, _ in [*answers, again]}) == 1
    assert len({text for _, _, text in [*answers, again]}) == 1
    assert directories[0].waits >= 1


async def test_a_stream_key_that_a_peer_has_is_refused_for_now_and_another_is_served(tmp_path: Path) -> None:
    claims = {(open_caller(OPEN).id, "theirs"): "there"}
    directories: list[PeerDirectory] = []
    async with running(tmp_path, build_directory=joined_to(directories, claims=claims)) as client:
        for path in ("/chat/completions", "/streams"):
            status, headers, text = await client.post(path, stream_key="theirs")
            assert (status, headers["Retry-After"]) == (503, "1"), text
        assert (await client.post("/chat/completions", stream_key="ours"))[0] == 200
    assert claims[open_caller(OPEN).id, "ours"] == "here"


async def test_a_stream_of_a_peer_is_not_said_to_be_unknown(tmp_path: Path) -> None:
    build = joined_to([], claims={}, streams={"st_theirs": "there"})
    async with running(tmp_path, build_directory=build) as client:
        for path in ("", "/events"):
            assert (await client.get(f"/streams/st_theirs{path}"))[0] == 503
            assert (await client.get(f"/streams/st_nobodys{path}"))[0] == 404
