"""Every test of the upstream side runs on asyncio's own loop and on uvloop, and leaves nothing behind."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from gateway.simulate import Provider
from tests.kit.certificates import Certificates

from .faults import FAST
from .kit import Server, open_sockets, passes, until


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def leaves_nothing_behind() -> AsyncIterator[None]:
    """Check after a test that it left no task, no socket and no unclosed transport.

    Objects from before the test are frozen, so that the collection takes 1 ms instead of 100.
    """
    gc.freeze()
    before = open_sockets()
    yield
    mine = asyncio.current_task()
    others = [task for task in asyncio.all_tasks() if task is not mine]
    assert not others
    await until(lambda: open_sockets() <= before)
    gc.collect()  # an unclosed transport warns, and a warning is an error
    gc.unfreeze()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder: Path = tmp_path_factory.mktemp("certificates")
    return Certificates.make(folder)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = await Provider.start(script=FAST)
    yield provider
    await provider.close()
    await passes(3)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server.open() as server:
        yield server
