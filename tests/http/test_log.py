"""What the gateways of all live tests have written; runs after them, and after requests of its own."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.completions import CLIENT_KEY, MODEL, PROMPT, QUICK, UPSTREAM_KEY, body, text
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.http_client import fetch
from tests.kit.upstreams import ClosedPort

FIELDS = {"at", "level", "logger", "event"}


class Talkative(ClosedPort):
    """A provider that answers every request with an error that quotes the request."""

    name = "talkative"

    def __init__(self) -> None:
        super().__init__()
        self._socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        super().close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with client:
                request = client.recv(65536).decode()
                status = 400 if '"n":2' in request else 500
                content = json.dumps({"error": {"message": f"cannot answer {request}"}}).encode()
                fields = f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
                client.sendall(f"HTTP/1.1 {status} No\r\n{fields}\r\n".encode() + content)


@pytest.fixture
def talkative() -> Iterator[Talkative]:
    talkative = Talkative()
    yield talkative
    talkative.close()


@pytest.fixture
def quoted(tmp_path: Path, talkative: Talkative) -> tuple[list[str], str]:
    """What the clients of such a provider are told, and what is logged."""
    gateway = LocalGateway(tmp_path, configuration([(talkative, [MODEL])]), KEYS)
    try:
        requests = (body(), body(stream=True), body(stream=True, n=2))
        told = [fetch(gateway.port, one, Authorization=f"Bearer {CLIENT_KEY}").body.decode() for one in requests]
    finally:
        gateway.close()
    return told, gateway.errors()


def test_an_error_that_quotes_the_gateways_own_key_does_not_tell_it_to_the_client(
    quoted: tuple[list[str], str],
) -> None:
    assert all(UPSTREAM_KEY not in told for told in quoted[0])


def test_an_error_that_quotes_the_request_is_not_logged_with_it(quoted: tuple[list[str], str]) -> None:
    assert PROMPT not in quoted[1]
    assert UPSTREAM_KEY not in quoted[1]


def test_no_log_holds_a_prompt_a_completion_or_a_key(gateway: Gateway, logs: Path) -> None:
    fetch(gateway.port, body(QUICK, stream=True), Authorization=f"Bearer {CLIENT_KEY}", x_request_id="the-last")
    gateway.ending("the-last")
    for file in logs.glob("*.err"):
        written = file.read_text()
        for secret in (PROMPT, CLIENT_KEY, UPSTREAM_KEY, text(4), "Bearer"):
            assert secret not in written, f"{file.name}: {secret}"


# Errors of the machine that other tests provoke on purpose.
PROVOKED = (
    "the ledger cannot be written",
    "a record is not in the ledger; book it by hand",
    "the new configuration is faulty",
    "Failed to export spans",
)


def test_no_log_holds_a_traceback(gateway: Gateway, logs: Path) -> None:
    for file in logs.glob("*.err"):
        written = file.read_text()
        assert "Traceback" not in written, file.name
        faults = [line for line in written.splitlines() if '"level":"error"' in line]
        assert all(any(one in line for one in PROVOKED) for line in faults), f"{file.name}: {faults}"


def test_every_line_of_a_gateway_is_an_object_with_the_known_fields(gateway: Gateway) -> None:
    for line in gateway.errors().splitlines():
        assert json.loads(line).keys() >= FIELDS
