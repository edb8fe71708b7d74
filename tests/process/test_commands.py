"""The command line: what it prints, what it refuses, and how it ends."""

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kit.completions import ENDLESS, MODEL, QUICK, UPSTREAM_KEY, body, text
from tests.kit.configuration import KEYS, configuration
from tests.kit.http_client import Answer, RawClient, fetch
from tests.kit.process import Command, GatewayProcess
from tests.kit.upstreams import ClosedPort, Upstream
from tests.kit.waiting import wait_for

Run = Callable[..., Command]


@pytest.fixture
def run(logs: Path) -> Iterator[Run]:
    """A function that starts a command; the command is stopped at the end of the test."""
    started: list[Command] = []

    def start(*arguments: str, environment: dict[str, str] | None = None) -> Command:
        started.append(Command(logs, *arguments, environment=environment))
        return started[-1]

    yield start
    for command in started:
        command.terminate()


def refusal(command: Command) -> str:
    """The one line with which a command has refused to start."""
    assert command.wait() == 2
    assert command.output() == ""
    [line] = command.errors().splitlines()
    assert line.startswith("rivergate: ")
    return line


def test_check_sums_up_a_good_configuration(run: Run, tmp_path: Path, alpha: Upstream) -> None:
    file = tmp_path / "good.toml"
    file.write_text(configuration([(alpha, [MODEL])]))
    command = run("check", str(file), environment=KEYS)
    assert command.wait() == 0
    assert "listens on 127.0.0.1:0" in command.output()
    assert "upstream alpha" in command.output()
    assert command.errors() == ""
    assert UPSTREAM_KEY not in command.output()


def test_check_prints_every_fault_with_its_key(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "faulty.toml"
    file.write_text(
        '[server]\nlisten = "nowhere"\nport = 1\n[stream]\ncommit_after_ms = -1\n[[upstreams]]\nname = "a"\n'
        'base_url = "ftp://x"\n[[upstreams.models]]\nid = "m"\n'
    )
    command = run("check", str(file))
    assert command.wait() == 2
    for key in ("server.listen", "server.port", "stream.commit_after_ms", "upstreams[0].base_url"):
        assert key in command.errors()
    assert "Traceback" not in command.errors()
    assert command.output() == ""


def test_check_refuses_certificates_that_a_start_could_not_use(run: Run, tmp_path: Path, alpha: Upstream) -> None:
    file, nothing = tmp_path / "tls.toml", tmp_path / "nothing.pem"
    nothing.write_text("no certificate")
    good = configuration([(alpha, [MODEL])])
    for content in (
        good.replace("[server]", f'[server]\ntls_cert_file = "{nothing}"\ntls_key_file = "{nothing}"', 1),
        good.replace("[[upstreams]]", f'[[upstreams]]\ntls_ca_file = "{nothing}"', 1).replace("http:", "https:"),
    ):
        file.write_text(content)
        assert "cannot use" in refusal(run("check", str(file), environment=KEYS))


def test_serve_refuses_a_faulty_configuration_like_check(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "faulty.toml"
    file.write_text("[server]\nmax_connections = 0\n[stream]\nretain_seconds = -1\n")
    command = run("serve", "--config", str(file))
    assert command.wait() == 2
    assert "server.max_connections" in command.errors()
    assert "stream.retain_seconds" in command.errors()


def test_serve_logs_for_people_when_it_is_told_to(run: Run, tmp_path: Path, alpha: Upstream) -> None:
    file = tmp_path / "good.toml"
    file.write_text(configuration([(alpha, [MODEL])]))
    command = run("serve", "--config", str(file), "--log-format", "text", environment=KEYS)
    wait_for(lambda: "listening" in command.errors(), "a gateway that listens")
    assert re.search(r"^\S+Z info     listening +listen=127\.0\.0\.1:\d+$", command.errors(), re.M)
    assert command.terminate() == 0
    assert "\x1b" not in command.errors()


def test_serve_refuses_a_log_format_that_there_is_not(run: Run, tmp_path: Path, alpha: Upstream) -> None:
    file = tmp_path / "good.toml"
    file.write_text(configuration([(alpha, [MODEL])]))
    assert "--log-format" in refusal(run("serve", "-c", str(file), "--log-format", "xml", environment=KEYS))


def test_serve_refuses_a_file_that_is_missing(run: Run, tmp_path: Path) -> None:
    assert "missing.toml" in refusal(run("serve", "--config", str(tmp_path / "missing.toml")))


def test_serve_refuses_a_port_that_is_taken(run: Run, tmp_path: Path) -> None:
    taken = ClosedPort()
    port = int(re.findall(r":(\d+)/", taken.base_url)[0])
    file = tmp_path / "taken.toml"
    file.write_text(configuration([(taken, ["m"])], f'[server]\nlisten = "127.0.0.1:{port}"\n'))
    line = refusal(run("serve", "--config", str(file), environment=KEYS))
    taken.close()
    assert "server.listen" in line
    assert str(port) in line


@pytest.mark.parametrize("listen", ["0.0.0.0:0", ":0", "[::]:0"])
def test_serve_refuses_a_listener_that_is_open_to_the_network(
    run: Run, tmp_path: Path, alpha: Upstream, listen: str
) -> None:
    file = tmp_path / "open.toml"
    file.write_text(configuration([(alpha, [MODEL])], f'[server]\nlisten = "{listen}"\n'))
    assert "server.listen" in refusal(run("serve", "--config", str(file), environment=KEYS))


def test_serve_refuses_a_key_that_is_not_there(run: Run, tmp_path: Path, alpha: Upstream) -> None:
    file = tmp_path / "keyless.toml"
    file.write_text(configuration([(alpha, [MODEL])]))
    assert "TEST_UPSTREAM_KEY" in refusal(run("serve", "--config", str(file)))


def test_serve_takes_keys_of_the_configuration_from_the_environment(logs: Path, alpha: Upstream) -> None:
    gateway = GatewayProcess(
        logs, configuration([(alpha, [MODEL])]), {**KEYS, "RIVERGATE_SERVER__MAX_BODY_BYTES": "2000"}
    )
    try:
        assert fetch(gateway.port, body(QUICK, stream=True)).status == 200
        assert fetch(gateway.port, b" " * 2001).status == 413
    finally:
        assert gateway.terminate() == 0


def test_sim_prints_its_address_and_serves(run: Run) -> None:
    command = run("sim", "--port", "0", "--ttft-ms", "5", "--gap-ms", "1", "--tokens", "4", "--script", '{"seed": 3}')
    url = command.wait_for_output(r"simulated provider at (http://127\.0\.0\.1:(\d+)/v1)")
    with urllib.request.urlopen(f"{url[1]}/models", timeout=5) as answer:
        assert json.load(answer)["data"][0]["id"] == "sim"
    streamed = fetch(int(url[2]), {"model": "m", "stream": True, "messages": []})
    assert len(streamed.text().split()) == 4
    assert command.terminate() == 0
    assert command.errors() == ""


OBSERVED = """
import gc, sys
from gateway.__main__ import main
looks = []
gc.callbacks.append(lambda phase, _: looks.append(phase == "stop"))
try:
    main()
finally:
    print(gc.isenabled(), sum(looks), "pydantic" in sys.modules, file=sys.stderr)
"""


def test_the_garbage_collector_waits_until_all_is_imported() -> None:
    command = [sys.executable, "-c", OBSERVED, "sim", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("simulated provider at ")
            process.send_signal(signal.SIGTERM)
            _, found = process.communicate(timeout=30)
        finally:
            process.kill()
    enabled, looks, imported = found.split()
    assert (enabled, imported) == ("True", "True")
    assert int(looks) < 30  # importing the modules with the collector on causes more than a hundred collections


@pytest.mark.parametrize(("plugins", "loaded"), [(None, False), ("", True)])
def test_pydantic_looks_for_no_plugins_unless_the_operator_says_so(
    tmp_path: Path, plugins: str | None, loaded: bool
) -> None:
    (tmp_path / "telling.py").write_text("raise ImportError('the plugin was looked for')")
    found = tmp_path / "telling-1.0.dist-info"
    found.mkdir()
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: telling\nVersion: 1.0\n")
    (found / "entry_points.txt").write_text("[pydantic]\ntelling = telling:plugin\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    if plugins is not None:
        environment["PYDANTIC_DISABLE_PLUGINS"] = plugins
    (tmp_path / "empty.toml").write_text("[server]\n")  # a configuration is what builds a validator
    command = [sys.executable, "-m", "gateway", "check", str(tmp_path / "empty.toml")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=False)
    assert "at least one [[upstreams]]" in ended.stderr
    assert ("the plugin was looked for" in ended.stderr) is loaded


@pytest.mark.parametrize("script", ["{", "[]", '{"no_such": 1}', '{"status": 1}'])
def test_sim_refuses_a_script_that_cannot_be_played(run: Run, script: str) -> None:
    assert "script: " in refusal(run("sim", "--port", "0", "--script", script))


def test_sim_refuses_a_port_that_is_taken(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert "cannot listen" in refusal(run("sim", "--port", str(taken.getsockname()[1])))


def test_demo_answers_the_curl_that_it_prints(run: Run, curl: str) -> None:
    command = run("demo", "--port", "0")
    printed = command.wait_for_output(r"(?s)  curl (-N .*?-d '.*?')\n")[1]
    arguments = shlex.split(printed.replace("\\\n", " "))
    answer = subprocess.run([curl, "-sS", "--noproxy", "*", *arguments], capture_output=True, timeout=30, check=True)
    streamed = Answer(200, {}, answer.stdout)
    assert "river" in streamed.text()
    assert streamed.events()[-1] == "[DONE]"
    command.wait_for_output("Ctrl-C stops it")
    command.wait_for_output(
        r"demo from swift: completed, first token after \d+ ms, \d+ tokens in [\d.]+ s, [\d.]+ USD\n"
    )
    assert command.terminate() == 0
    assert command.errors() == ""


def test_demo_falls_back_for_the_model_that_shows_it(run: Run) -> None:
    command = run("demo", "--port", "0")
    port = int(command.wait_for_output(r"http://127\.0\.0\.1:(\d+)/v1")[1])
    answer = fetch(port, body(model="demo/broken", stream=True))
    assert (answer.status, answer.headers["x-upstream"], answer.headers["x-attempts"]) == (200, "swift", "2")
    command.wait_for_output(r"demo/broken from swift \(after broken\): completed")
    assert fetch(port, body(model="unknown")).status == 404
    command.wait_for_output("POST /v1/chat/completions: refused, HTTP 404 model not found\n")


def test_demo_refuses_a_port_that_is_taken(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert "server.listen" in refusal(run("demo", "--port", str(taken.getsockname()[1])))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_an_idle_gateway_with_status_0(logs: Path, alpha: Upstream, number: signal.Signals) -> None:
    gateway = GatewayProcess(logs, configuration([(alpha, [MODEL])]), KEYS)
    try:
        with RawClient(gateway.port) as idle:
            idle.post(body(QUICK))
            assert idle.answer().status == 200
            gateway.process.send_signal(number)
            assert gateway.wait() == 0
            assert idle.rest() == b""
    finally:
        gateway.close()
    assert [line["event"] for line in gateway.lines()][-2:] == ["draining", "stopped"]


def test_a_stopped_gateway_lets_streams_finish(logs: Path, alpha: Upstream) -> None:
    gateway = GatewayProcess(logs, configuration([(alpha, [MODEL])]), KEYS)
    try:
        with RawClient(gateway.port) as client:
            client.post(body({"ttft_ms": 5, "gap_ms": 20, "tokens": 40}, stream=True))
            head = client.head()
            gateway.process.send_signal(signal.SIGTERM)
            gateway.wait_for_event("draining")
            with pytest.raises(ConnectionRefusedError):
                RawClient(gateway.port)
            rest = Answer(head.status, {}, b"".join(iter(client.chunk, b"")))
            assert rest.text() == text(40)
            assert rest.events()[-1] == "[DONE]"
        assert gateway.wait() == 0
    finally:
        gateway.close()


def test_a_stopped_gateway_lets_answers_that_are_not_streamed_finish(logs: Path, alpha: Upstream) -> None:
    gateway = GatewayProcess(logs, configuration([(alpha, [MODEL])]), KEYS)
    try:
        before = alpha.statistics()
        with RawClient(gateway.port) as client:
            client.post(body({"ttft_ms": 700, "gap_ms": 0, "tokens": 8}))
            alpha.wait_for_request(before)
            gateway.process.send_signal(signal.SIGTERM)
            gateway.wait_for_event("draining")
            assert json.loads(client.answer().body)["choices"][0]["message"]["content"] == text(8)
        assert gateway.wait() == 0
    finally:
        gateway.close()


@pytest.mark.parametrize("signals", [1, 2])
def test_streams_that_outlast_the_drain_are_told_so(logs: Path, alpha: Upstream, signals: int) -> None:
    drain = "0.3" if signals == 1 else "60"
    sections = f'[server]\nlisten = "127.0.0.1:0"\ndrain_seconds = {drain}\n'
    gateway = GatewayProcess(logs, configuration([(alpha, [MODEL])], sections), KEYS)
    before = alpha.statistics()
    try:
        with RawClient(gateway.port) as client:
            client.post(body(ENDLESS, stream=True))
            client.head()
            for _ in range(signals):
                gateway.process.send_signal(signal.SIGTERM)
                gateway.wait_for_event("draining")
            *_, error, done = Answer(200, {}, b"".join(iter(client.chunk, b""))).events()
            assert (error["error"]["code"], done) == ("server_draining", "[DONE]")
            alpha.wait_for_abort(before)
        assert gateway.wait() == 0
    finally:
        gateway.close()


def test_a_draining_gateway_takes_nothing_more_on_connections_it_still_has(logs: Path, alpha: Upstream) -> None:
    gateway = GatewayProcess(logs, configuration([(alpha, [MODEL])]), KEYS)
    try:
        with RawClient(gateway.port) as streaming, RawClient(gateway.port) as other:
            other.request("GET", "/readyz")
            assert other.answer().status == 200
            streaming.post(body(ENDLESS, stream=True))
            streaming.head()
            gateway.process.send_signal(signal.SIGTERM)
            gateway.wait_for_event("draining")
            other.request("GET", "/readyz")
            assert other.answer().status == 503
            for streamed in (True, False):
                with contextlib.suppress(EOFError, OSError):  # the gateway may close the connection instead
                    other.post(body(QUICK, stream=streamed))
                    refused = other.answer()
                    assert refused.status == 503
                    assert int(refused.headers["retry-after"]) >= 1
        assert gateway.wait() == 0
    finally:
        gateway.close()


@pytest.mark.parametrize("request_bytes", ["whole", "half"])
@pytest.mark.parametrize("signals", [1, 2])
def test_nothing_outlasts_the_drain(logs: Path, alpha: Upstream, request_bytes: str, signals: int) -> None:
    drain = "0.3" if signals == 1 else "60"
    sections = f'[server]\nlisten = "127.0.0.1:0"\ndrain_seconds = {drain}\n'
    gateway = GatewayProcess(logs, configuration([(alpha, [MODEL])], sections), KEYS)
    before = alpha.statistics()
    try:
        with RawClient(gateway.port) as client:
            if request_bytes == "whole":
                client.post(body({"ttft_ms": 600_000}))
                alpha.wait_for_request(before)
            else:
                client.request("GET", "/healthz")
                client.answer()
                client.request("POST", "/v1/chat/completions", b"{", Content_Length="100")
            gateway.process.send_signal(signal.SIGTERM)
            gateway.wait_for_event("draining")
            if signals == 2:
                gateway.process.send_signal(signal.SIGTERM)
            assert gateway.process.wait(5) == 0
    finally:
        gateway.process.kill()
        gateway.close()


def test_a_unix_socket_is_served_and_removed_at_the_end(
    run: Run, curl: str, tmp_path_factory: pytest.TempPathFactory, alpha: Upstream
) -> None:
    folder = tmp_path_factory.mktemp("s")
    path, file = folder / "gate.sock", folder / "unix.toml"
    file.write_text(configuration([(alpha, [MODEL])], f'[server]\nlisten = "unix:{path}"\n'))
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))
    command = run("serve", "--config", str(file), environment=KEYS)
    assert command.wait_for_event("listening")["listen"] == f"unix:{path}"
    request = json.dumps(body(QUICK, stream=True))
    arguments = ["-sSN", "--unix-socket", str(path), "http://localhost/v1/chat/completions", "-d", request]
    answer = subprocess.run([curl, *arguments], capture_output=True, timeout=20, check=True)
    assert Answer(200, {}, answer.stdout).text() == text(8)
    assert command.terminate() == 0
    assert not path.exists()


def test_a_file_at_the_place_of_the_socket_is_not_removed(run: Run, tmp_path: Path, alpha: Upstream) -> None:
    precious, file = tmp_path / "precious", tmp_path / "unix.toml"
    precious.write_text("kept")
    file.write_text(configuration([(alpha, [MODEL])], f'[server]\nlisten = "unix:{precious}"\n'))
    assert "server.listen" in refusal(run("serve", "--config", str(file), environment=KEYS))
    assert precious.read_text() == "kept"


def test_sim_plays_a_real_provider_and_names_all_that_it_can_play(run: Run) -> None:
    listed = run("sim", "--like", "list")
    assert listed.wait() == 0
    assert {"groq", "azure", "llama.cpp"} <= {line.split()[0] for line in listed.output().splitlines()}
    assert "there are: openai, azure" in refusal(run("sim", "--like", "grok"))
    played = run("sim", "--port", "0", "--like", "groq")
    url = played.wait_for_output(r"simulated provider at http://127\.0\.0\.1:(\d+)/openai/v1")
    answer = fetch(int(url[1]), {"model": "m", "messages": []})
    assert (answer.status, answer.error()["code"]) == (404, "unknown_url")
    assert played.terminate() == 0
