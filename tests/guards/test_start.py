"""What a start costs, as counts: the modules that `rivergate serve` imports until it is ready, and what it leaves.

A start is nearly all import (bench/startup.py), 0.5 ms a module.
"""

import asyncio
import gc
import os
import ssl
from pathlib import Path

import pytest

from gateway.commands import running
from tests.kit.completions import MODEL
from tests.kit.configuration import KEYS, configuration
from tests.kit.process import GatewayProcess
from tests.kit.upstreams import Upstream

OURS = 365  # modules of the gateway, and some room for files that are split
ALL = 865  # with those of Python and of the dependencies
NOT_AT_THE_START = {
    "aiohttp.test_utils",
    "gateway.commands.demo_gateway",
    "gateway.commands.probe",
    "gateway.commands.top_feed",
    "gateway.commands.usage_report",
    "gateway.simulate",
    "multiprocessing",
    "opentelemetry",
    "pydantic.v1",
    "requests",
    "rich",
    "unittest",
    "xml",
}


@pytest.fixture(scope="module")
def imported(logs: Path, alpha: Upstream) -> set[str]:
    """The names of all modules that a gateway had imported when it was ready."""
    told = {**KEYS, "PYTHONPROFILEIMPORTTIME": "1"}
    gateway = GatewayProcess(logs, configuration([(alpha, [MODEL])]), told)
    try:
        lines = gateway.errors().partition('"listening"')[0].splitlines()
    finally:
        gateway.terminate()
    return {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}


def test_a_start_imports_no_more_modules_than_it_did(imported: set[str]) -> None:
    ours = [name for name in imported if name.partition(".")[0] == "gateway"]
    assert 200 < len(ours) <= OURS
    assert 500 < len(imported) <= ALL


def test_a_start_imports_nothing_that_only_other_commands_and_optional_features_need(imported: set[str]) -> None:
    packages = {name[:end] for name in imported for end in range(len(name) + 1) if name[end : end + 1] in ("", ".")}
    assert sorted(packages & NOT_AT_THE_START) == []


def test_no_certificate_authorities_are_read_while_the_server_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for before in (None, "/nowhere/authorities.pem"):
        if before is None:
            monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        else:
            monkeypatch.setenv("SSL_CERT_FILE", before)
        with running.authorities_unread():
            assert ssl.create_default_context().cert_store_stats()["x509"] == 0
        assert os.environ.get("SSL_CERT_FILE") == before


def test_the_collector_never_walks_what_was_imported() -> None:
    enabled, known = gc.isenabled(), len(gc.get_objects())

    async def look() -> None:
        await asyncio.sleep(0)
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0.9 * known  # some objects have become garbage since they were counted

    try:
        running.run(look())
    finally:
        gc.unfreeze()
        if not enabled:
            gc.disable()
