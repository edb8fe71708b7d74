"""What a gateway writes into its log, and what it never does, whatever its upstreams send."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import log_rules
from tests.kit.completions import CLIENT_KEY, MODEL, PROMPT, QUICK, UPSTREAM_KEY, body, text
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.http_client import fetch
from tests.kit.raw_upstream import RawUpstream, json_answer


def quoting(request: bytes) -> bytes:
    """An error that quotes the request."""
    status = 400 if b'"n":2' in request else 500
    return json_answer(status, json.dumps({"error": {"message": f"cannot answer {request.decode()}"}}).encode())


@pytest.fixture
def talkative() -> Iterator[RawUpstream]:
    talkative = RawUpstream(quoting, "talkative")
    yield talkative
    talkative.close()


@pytest.fixture
def quoted(tmp_path: Path, talkative: RawUpstream) -> tuple[list[str], str]:
    """The bodies that the clients of the talkative provider get, and the log of the gateway."""
    gateway = LocalGateway(tmp_path, configuration([(talkative, [MODEL])]), KEYS)
    try:
        requests = (body(), body(stream=True), body(stream=True, n=2))
        found = [
            fetch(gateway.port, request, Authorization=f"Bearer {CLIENT_KEY}").body.decode() for request in requests
        ]
    finally:
        gateway.close()
    return found, gateway.errors()


def test_an_error_that_quotes_the_gateways_own_key_does_not_tell_it_to_the_client(
    quoted: tuple[list[str], str],
) -> None:
    assert all(UPSTREAM_KEY not in found for found in quoted[0])


def test_an_error_that_quotes_the_request_is_not_logged_with_it(quoted: tuple[list[str], str]) -> None:
    assert PROMPT not in quoted[1]
    assert UPSTREAM_KEY not in quoted[1]


def test_no_line_holds_a_prompt_a_completion_or_a_key_and_every_one_has_the_known_fields(gateway: Gateway) -> None:
    """The rules of `kit/log_rules.py`, to which each gateway of the kit is held when it ends."""
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
