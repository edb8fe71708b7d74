"""Fixtures: a running process with a bank, and pauses that are short enough for tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.access import key_ring, settling

from .process import Process


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    process = Process(tmp_path / "ledger.db")
    yield process
    await process.stop()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses of everything that the bank and the key ring repeat."""
    monkeypatch.setattr(key_ring, "REFRESH_SECONDS", 0.02)
    monkeypatch.setattr(settling, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(settling, "CHECK_SECONDS", 0.02)
    monkeypatch.setattr(key_ring, "LOOK_SECONDS", 0.0)
