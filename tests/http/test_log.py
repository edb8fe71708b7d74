"""What a gateway writes into its log, and what it never does, whatever its upstreams send."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import log_rules
from tests.kit.completions import CLIENT_KEY, MODEL, PROMPT, QUICK, UPSTREAM_KEY, body, text
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.http_client import fetch
from tests.kit.upstreams import ClosedPort


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
        told = [
            fetch(gateway.port, request, Authorization=f"Bearer {CLIENT_KEY}").body.decode() for request in requests
        ]
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


def test_no_line_holds_a_prompt_a_completion_or_a_key_and_every_one_has_the_known_fields(gateway: Gateway) -> None:
    """Each gateway of the kit is held to the same rules when it ends."""
    answer = fetch(gateway.port, body(QUICK, stream=True), Authorization=f"Bearer {CLIENT_KEY}")
    gateway.ending(answer.headers["x-request-id"])
    assert log_rules.faults(gateway.errors()) == []
    for line in gateway.errors().splitlines():
        assert json.loads(line).keys() >= log_rules.FIELDS


LINE = '{"at": "2026-11-30T00:00:00.000Z", "level": "LEVEL", "logger": "rivergate", "event": "EVENT"}'


@pytest.mark.parametrize("event", [PROMPT, CLIENT_KEY, UPSTREAM_KEY, text(8), "Bearer x", "Traceback (most recent"])
def test_the_rules_of_the_kit_notice_what_must_not_be_logged(event: str) -> None:
    line = LINE.replace("LEVEL", "info")
    assert log_rules.faults(line.replace("EVENT", "listening") + "\n") == []
    assert log_rules.faults(line.replace("EVENT", event) + "\n")


def test_the_rules_of_the_kit_notice_errors_but_those_that_tests_provoke() -> None:
    line = LINE.replace("LEVEL", "error")
    assert log_rules.faults(line.replace("EVENT", log_rules.PROVOKED_ERRORS[0])) == []
    assert log_rules.faults(line.replace("EVENT", "the task 'x' failed"))
    assert log_rules.faults('{"event": "without its time"}')
