"""SIGHUP: a configuration that is faulty is refused with all its faults, and the old one stays."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import MODEL, QUICK, body, text
from tests.kit.configuration import KEYS, Served, configuration
from tests.kit.http_client import fetch
from tests.kit.process import GatewayProcess
from tests.kit.upstreams import Upstream, Upstreams
from tests.kit.waiting import wait_for

RULES = '[routing]\noptimize = "priority"\nbreaker_failures = 2\nbreaker_seconds = 600\n'


class Reloadable(GatewayProcess):
    """A gateway whose configuration file a test can write anew."""

    def __init__(self, folder: Path, content: str) -> None:
        super().__init__(folder, content, KEYS)

    def reload(self, content: str) -> dict[str, Any]:
        """Write this configuration and send SIGHUP; returns the log line that tells the outcome."""
        before = len(self._verdicts())
        self.file.write_text(content)
        self.process.send_signal(signal.SIGHUP)
        return wait_for(lambda: self._verdicts()[before:] or None, "the configuration to be read again")[0]

    def _verdicts(self) -> list[dict[str, Any]]:
        words = ("configuration reloaded", "the new configuration is faulty; the old one stays")
        return [line for line in self.lines() if line["event"] in words]


def reload_of(served: Served, folder: Path, sections: str = RULES, **options: Any) -> str:
    return configuration(served, f'{sections}[storage]\npath = "{folder}/s.db"\n', **options)


@pytest.fixture(scope="module")
def providers() -> Iterator[Upstreams]:
    providers = Upstreams()
    yield providers
    providers.close()


@pytest.fixture
def first_upstream(providers: Upstreams) -> Upstream:
    return providers.start("one", **QUICK)


@pytest.fixture
def second_upstream(providers: Upstreams) -> Upstream:
    return providers.start("two", **QUICK)


@pytest.fixture
def gateway(tmp_path: Path, first_upstream: Upstream) -> Iterator[Reloadable]:
    gateway = Reloadable(tmp_path, reload_of([(first_upstream, [MODEL])], tmp_path))
    yield gateway
    gateway.close()


def metadata(gateway: GatewayProcess, **fields: Any) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(fetch(gateway.port, body(**fields)).body)["routing_metadata"]
    return parsed


def test_a_faulty_file_is_refused_with_all_its_faults_and_the_old_one_stays(gateway: Reloadable) -> None:
    line = gateway.reload("[server]\nlisten = 7\n[stream]\nkeepalive_seconds = -1\nnonsense = 1\n")
    assert line["level"] == "error"
    faults = "\n".join(line["faults"])
    for key in ("server.listen", "stream.keepalive_seconds", "stream.nonsense", "upstreams"):
        assert key in faults
    assert fetch(gateway.port, body(stream=True)).text() == text(8)
    gateway.file.unlink()
    assert "level" in gateway.reload("not TOML [")
    assert fetch(gateway.port, body(stream=True)).text() == text(8)
    assert "Traceback" not in gateway.errors()


def test_after_a_faulty_file_a_good_one_is_taken(
    gateway: Reloadable, first_upstream: Upstream, second_upstream: Upstream, tmp_path: Path
) -> None:
    gateway.reload("nonsense")
    assert gateway.reload(reload_of([(second_upstream, [MODEL])], tmp_path))["level"] == "info"
    assert metadata(gateway)["provider"] == "two"
