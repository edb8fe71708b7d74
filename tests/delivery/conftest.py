"""Shell tests with sockets run on asyncio's own event loop and on uvloop."""

import asyncio
from collections.abc import Iterator

import pytest
import uvloop

from gateway.delivery import slices
from tests.delivery.sockets import PATIENCE, Run, close_all


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a coroutine to its end; an exception in a callback of the loop is a failure, too."""
    failures: list[dict[str, object]] = []
    with asyncio.Runner(loop_factory=request.param) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: failures.append(context))
        try:
            yield runner.run
        finally:
            close_all()
    assert failures == []


@pytest.fixture
def whole_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a slow machine from cutting a pass: what a test publishes has been sent when the call returns."""
    monkeypatch.setattr(slices, "SLICE_SECONDS", PATIENCE)
