"""What upstreams answer to the probe of `rivergate check --probe`: the cases stand in `probes.toml`."""

import json
import socket
import threading
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gateway.commands.app import app
from tests.kit.completions import UPSTREAM_KEY
from tests.kit.configuration import KEYS, Addressed, configuration
from tests.kit.raw_upstream import RawUpstream, json_answer
from tests.kit.upstreams import ClosedPort, Upstreams

CASES = tomllib.loads(Path(__file__).with_name("probes.toml").read_text())["case"]
MODELS = ["small", "big"]


@dataclass(frozen=True)
class Silent:
    """An upstream that takes the connection and never answers."""

    name: str
    base_url: str


def check(folder: Path, upstreams: list[Addressed], *options: str) -> Result:
    file = folder / "rivergate.toml"
    text = configuration([(upstream, MODELS) for upstream in upstreams]).replace("-2024", "")
    file.write_text(f"{text}[storage]\npath = {json.dumps(str(folder / 'rivergate.db'))}\n")
    return CliRunner().invoke(app, ["check", str(file), "--probe", *options], env=KEYS)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_probe_tells_what_the_upstream_answers(case: dict[str, Any], tmp_path: Path) -> None:
    raw, status = case.get("raw"), case.get("status", 200)
    answer = raw.encode() if raw is not None else json_answer(status, case["body"].encode())
    upstream = RawUpstream(lambda _: answer, "alpha")
    try:
        ended = check(tmp_path, [upstream])
    finally:
        upstream.close()
    [line] = [line for line in ended.stdout.splitlines() if line.startswith("probe: ")]
    assert line.startswith(f"probe: upstream alpha: {case['line']}")
    assert line.endswith(" ms")
    assert ended.exit_code == case["exit"]
    assert "sk-secret" not in ended.output
    [request] = upstream.requests
    assert request.startswith(b"GET /v1/models HTTP/1.1\r\n")
    assert f"Authorization: Bearer {UPSTREAM_KEY}\r\n".encode() in request


def test_every_upstream_has_a_line_and_an_object(tmp_path: Path) -> None:
    upstreams, gone = Upstreams(), ClosedPort()
    alpha = upstreams.start("alpha")
    try:
        lines = check(tmp_path, [alpha, gone]).stdout.splitlines()
        found = json.loads(check(tmp_path, [alpha, gone], "--json").stdout)["probe"]
    finally:
        upstreams.close()
        gone.close()
    assert [line.split(",")[0] for line in lines if line.startswith("probe")] == [
        "probe: upstream alpha: reachable",
        "probe: upstream gone: not reachable: connecting failed: Connection refused",
    ]
    assert [(result["upstream"], result["reachable"]) for result in found] == [("alpha", True), ("gone", False)]
    assert found[0].keys() == found[1].keys()


def test_an_upstream_that_says_nothing_is_waited_for_as_long_as_the_option_says(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        silent = Silent("silent", f"http://127.0.0.1:{listening.getsockname()[1]}/v1")
        ended = check(tmp_path, [silent], "--timeout", "0.2")
    assert "probe: upstream silent: not reachable: no answer within 0.2 s, " in ended.stdout
    assert ended.exit_code == 2


def test_all_upstreams_are_asked_at_the_same_time(tmp_path: Path) -> None:
    all_asked = threading.Barrier(3)  # none of the three answers before all three are asked

    def answer(request: bytes) -> bytes:
        all_asked.wait(20)
        return json_answer(200, b'{"data": [{"id": "small"}, {"id": "big"}]}')

    upstreams = [RawUpstream(answer, name) for name in ("a", "b", "c")]
    try:
        ended = check(tmp_path, list(upstreams))
    finally:
        for upstream in upstreams:
            upstream.close()
    assert ended.stdout.count("authorised, lists every configured model") == 3


def test_without_the_secret_the_upstream_is_asked_without_a_key(tmp_path: Path) -> None:
    upstream = RawUpstream(lambda _: json_answer(401, b"{}"), "alpha")
    file = tmp_path / "rivergate.toml"
    file.write_text(configuration([(upstream, MODELS)]) + f"[storage]\npath = {json.dumps(str(tmp_path / 'r.db'))}\n")
    try:
        ended = CliRunner().invoke(app, ["check", str(file), "--probe"])
    finally:
        upstream.close()
    assert "$TEST_UPSTREAM_KEY is not set [upstream alpha]" in ended.stderr
    assert "not authorised (HTTP 401): its key is wrong, missing or without rights" in ended.stdout
    assert b"Authorization" not in upstream.requests[0]
