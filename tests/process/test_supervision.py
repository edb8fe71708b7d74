"""A gateway under a service manager: its messages, its signs of life, and sockets that it is handed."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kit.completions import MODEL, QUICK, UPSTREAM_KEY, body, text
from tests.kit.configuration import KEYS, configuration
from tests.kit.http_client import Answer, RawClient, fetch
from tests.kit.process import Command, GatewayProcess
from tests.kit.service_manager import NotifySocket
from tests.kit.upstreams import Upstream
from tests.kit.waiting import wait_for

pytestmark = pytest.mark.deep

WATCHDOG_SECONDS = 0.6  # a sign of life each 0.2 s
WATCHDOG = {"WATCHDOG_USEC": str(int(WATCHDOG_SECONDS * 1_000_000))}

Start = Callable[..., GatewayProcess]


@pytest.fixture
def manager() -> Iterator[NotifySocket]:
    with NotifySocket() as manager:
        yield manager


@pytest.fixture
def sections(tmp_path: Path) -> str:
    return f'[storage]\npath = "{tmp_path}/s.db"\n'


@pytest.fixture
def start(tmp_path: Path, alpha: Upstream, manager: NotifySocket, sections: str) -> Iterator[Start]:
    """A function that starts a gateway which reports to this manager."""
    with contextlib.ExitStack() as started:

        def start(**environment: str) -> GatewayProcess:
            fields = {**KEYS, **manager.environment, **environment}
            gateway = GatewayProcess(tmp_path, configuration([(alpha, [MODEL])], sections), fields)
            started.callback(gateway.terminate)
            return gateway

        yield start


# --- what the manager is told


def test_the_manager_is_told_of_readiness_once_requests_are_served(start: Start, manager: NotifySocket) -> None:
    gateway = start()
    ready = manager.next()
    assert ready is not None
    assert ready["READY"] == "1"
    assert f"127.0.0.1:{gateway.port}" in ready["STATUS"]
    assert fetch(gateway.port, body(QUICK, stream=True)).text() == text(8)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_manager_is_told_of_the_stop_as_soon_as_it_is_asked_for(
    start: Start, manager: NotifySocket, number: signal.Signals
) -> None:
    gateway = start()
    manager.wait_for("READY")
    with RawClient(gateway.port) as client:
        client.post(body({"ttft_ms": 5, "gap_ms": 20, "tokens": 25}, stream=True))
        head = client.head()
        gateway.process.send_signal(number)
        stopping = manager.next()
        assert stopping is not None
        assert stopping["STOPPING"] == "1"
        assert Answer(head.status, {}, b"".join(iter(client.chunk, b""))).text() == text(25)
    assert gateway.wait() == 0


def test_a_gateway_that_cannot_start_says_nothing(
    tmp_path: Path, alpha: Upstream, manager: NotifySocket, sections: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = f'[server]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"\n'
        file = tmp_path / "taken.toml"
        file.write_text(configuration([(alpha, [MODEL])], server + sections))
        fields = {**KEYS, **manager.environment}
        command = Command(tmp_path, "serve", "--config", str(file), environment=fields)
        assert command.wait() == 2
        command.terminate()
    assert manager.next(0.1) is None


def test_a_reload_is_told_with_its_time_and_its_end(start: Start, manager: NotifySocket) -> None:
    gateway = start()
    manager.wait_for("READY")
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    gateway.process.send_signal(signal.SIGHUP)
    began, ended = manager.next(), manager.next()
    assert began is not None
    assert began["RELOADING"] == "1"
    assert before <= int(began["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert ended == {"READY": "1"}
    gateway.wait_for_event("configuration reloaded")


def test_a_reload_that_is_refused_ends_for_the_manager_too(start: Start, manager: NotifySocket) -> None:
    gateway = start()
    manager.wait_for("READY")
    gateway.file.write_text("[server]\nlisten = 7\n")
    gateway.process.send_signal(signal.SIGHUP)
    manager.wait_for("RELOADING")
    assert manager.next() == {"READY": "1"}


def test_signal_handlers_stand_before_the_gateway_says_that_it_listens(start: Start) -> None:
    """A signal that comes before its handler stands would kill the process instead of draining it."""
    status = Path(f"/proc/{start().process.pid}/status").read_text().splitlines()
    caught = next(int(line.split()[1], 16) for line in status if line.startswith("SigCgt:"))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        assert caught >> (number - 1) & 1, number.name


# --- the watchdog


def test_without_a_watchdog_there_are_no_signs_of_life(start: Start, manager: NotifySocket) -> None:
    start()
    manager.wait_for("READY")
    assert manager.next(WATCHDOG_SECONDS) is None


def test_signs_of_life_come_three_times_in_the_time_of_the_watchdog(start: Start, manager: NotifySocket) -> None:
    start(**WATCHDOG)
    manager.wait_for("READY")
    times = []
    for _ in range(6):
        assert manager.next() == {"WATCHDOG": "1"}
        times.append(time.monotonic())
    assert (times[-1] - times[0]) / 5 < WATCHDOG_SECONDS


def test_a_process_that_is_stopped_gives_no_sign_and_goes_on_afterwards(start: Start, manager: NotifySocket) -> None:
    gateway = start(**WATCHDOG)
    manager.wait_for("WATCHDOG")
    gateway.process.send_signal(signal.SIGSTOP)
    wait_for(lambda: process_state(gateway) == "T", "the process to be stopped")
    manager.drop_what_is_there()
    assert manager.next(2 * WATCHDOG_SECONDS) is None
    gateway.process.send_signal(signal.SIGCONT)
    assert [manager.next() for _ in range(3)] == [{"WATCHDOG": "1"}] * 3


def test_a_loop_that_is_blocked_gives_no_sign_and_goes_on_afterwards(
    start: Start, manager: NotifySocket, tmp_path: Path
) -> None:
    """The file with the keys of viewer tokens is a pipe that nobody writes to, which blocks a reload and the loop."""
    gateway = start(**WATCHDOG)
    manager.wait_for("WATCHDOG")
    (file,) = tmp_path.glob("*.token-keys")
    content = file.read_text()
    file.unlink()
    os.mkfifo(file, 0o600)
    gateway.process.send_signal(signal.SIGHUP)
    manager.wait_for("RELOADING")
    assert process_state(gateway) != "T"
    assert manager.next(2 * WATCHDOG_SECONDS) is None
    file.write_text(content)
    found = [manager.next() for _ in range(4)]
    assert found.count({"READY": "1"}) == 1  # the reload goes on in turns, between which signs of life may come
    assert found.count({"WATCHDOG": "1"}) == 3


def test_signs_of_life_come_while_running_streams_are_drained(start: Start, manager: NotifySocket) -> None:
    gateway = start(**WATCHDOG)
    manager.wait_for("READY")
    with RawClient(gateway.port) as client:
        client.post(body({"ttft_ms": 5, "gap_ms": 20, "tokens": 100}, stream=True))
        client.head()
        gateway.process.send_signal(signal.SIGTERM)
        manager.wait_for("STOPPING")
        for _ in range(3):
            assert manager.next() == {"WATCHDOG": "1"}
        while client.chunk():
            pass
    assert gateway.wait() == 0


def test_a_manager_that_reads_nothing_does_not_hold_up_the_gateway(start: Start) -> None:
    gateway = start(WATCHDOG_USEC="3000")  # a sign of life each millisecond soon fills the manager's queue
    for _ in range(20):
        assert fetch(gateway.port, body(QUICK, stream=True)).text() == text(8)


def process_state(gateway: GatewayProcess) -> str:
    """The state of the process as one letter, as ps prints it."""
    return Path(f"/proc/{gateway.process.pid}/stat").read_text().rpartition(")")[2].split()[0]


# --- sockets that systemd hands over


class Activated(Command):
    """A gateway behind `systemd-socket-activate`, which starts it for the first connection."""

    def __init__(self, folder: Path, file: Path, *listen: str, options: tuple[str, ...] = ()) -> None:
        activate = shutil.which("systemd-socket-activate")
        if activate is None:
            pytest.skip("systemd-socket-activate is not installed")
        number = len(list(folder.glob("*.err")))
        self._errors, self._output = folder / f"{number:02d}-active.err", folder / f"{number:02d}-active.out"
        sockets = [word for address in listen for word in ("-l", address)]
        passed = ["-E", f"TEST_UPSTREAM_KEY={UPSTREAM_KEY}"]
        serve = [sys.executable, "-m", "gateway", "serve", "--config", str(file)]
        with self._errors.open("wb") as errors, self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [activate, *options, *sockets, *passed, *serve],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )
        self.running.append(self)
        wait_for(lambda: self.errors().count("Listening on") == len(listen), "systemd to listen")


Activate = Callable[..., Activated]


@pytest.fixture
def activate(tmp_path: Path, alpha: Upstream, sections: str) -> Iterator[Activate]:
    file = tmp_path / "activated.toml"
    file.write_text(configuration([(alpha, [MODEL])], '[server]\nlisten = "127.0.0.1:1"\n' + sections))
    with contextlib.ExitStack() as started:

        def activate(*listen: str) -> Activated:
            activated = Activated(tmp_path, file, *listen)
            started.callback(activated.terminate)
            return activated

        yield activate


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def completion(curl: str, *arguments: str) -> str:
    """The body of a streamed completion as curl gets it."""
    request = json.dumps(body(QUICK, stream=True))
    answer = subprocess.run(
        [curl, "-sSN", *arguments, "-d", request, "http://localhost/v1/chat/completions"],
        capture_output=True,
        timeout=20,
        check=True,
    )
    return Answer(200, {}, answer.stdout).text()


def test_a_port_that_systemd_listens_on_is_served_and_not_the_configured_one(activate: Activate, port: int) -> None:
    activated = activate(f"127.0.0.1:{port}")
    assert fetch(port, body(QUICK, stream=True)).text() == text(8)
    assert activated.wait_for_event("listening")["listen"] == f"127.0.0.1:{port}"
    assert activated.terminate() == 0


def test_unix_sockets_of_systemd_are_served_and_stay_where_they_are(
    activate: Activate, curl: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("s") / "gate.sock"
    activated = activate(str(path))
    assert completion(curl, "--unix-socket", str(path)) == text(8)
    assert activated.wait_for_event("listening")["listen"] == f"unix:{path}"
    assert activated.terminate() == 0
    assert path.exists()  # the socket belongs to the manager, which still holds it


def test_an_abstract_socket_is_told_as_systemd_writes_it(activate: Activate, curl: str, port: int) -> None:
    activated = activate(f"@rivergate-{port}")
    assert completion(curl, "--abstract-unix-socket", f"rivergate-{port}") == text(8)
    assert activated.wait_for_event("listening")["listen"] == f"unix:@rivergate-{port}"


def test_several_sockets_are_served_at_once(
    activate: Activate, curl: str, port: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("s") / "gate.sock"
    activated = activate(f"127.0.0.1:{port}", str(path))
    assert fetch(port, body(QUICK, stream=True)).text() == text(8)
    assert completion(curl, "--unix-socket", str(path)) == text(8)
    assert activated.wait_for_event("listening")["listen"] == f"127.0.0.1:{port}, unix:{path}"


def test_a_socket_that_is_open_to_the_network_is_refused_without_keys(activate: Activate, port: int) -> None:
    activated = activate(f"0.0.0.0:{port}")
    with RawClient(port) as client, contextlib.suppress(ConnectionResetError):
        assert client.rest() == b""
    assert activated.wait() == 2
    assert f"0.0.0.0:{port} is open to the network" in activated.errors()
    assert "Traceback" not in activated.errors()


def test_a_socket_that_is_open_to_the_network_is_served_with_keys(
    activate: Activate, port: int, tmp_path: Path
) -> None:
    activated = activate(f"0.0.0.0:{port}")
    options = ["--name", "somebody", "--json", "--config", str(tmp_path / "activated.toml")]
    made = Command(tmp_path, "keys", "create", *options, environment=KEYS)
    assert made.wait() == 0
    secret = json.loads(made.output())["secret"]
    made.terminate()
    assert fetch(port, body(QUICK, stream=True)).status == 401
    assert fetch(port, body(QUICK, stream=True), Authorization=f"Bearer {secret}").text() == text(8)
    assert secret not in activated.errors()


def test_a_datagram_socket_is_refused_in_words(tmp_path: Path, alpha: Upstream, sections: str, port: int) -> None:
    file = tmp_path / "activated.toml"
    file.write_text(configuration([(alpha, [MODEL])], sections))
    activated = Activated(tmp_path, file, f"127.0.0.1:{port}", options=("--datagram",))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", port))
    assert activated.wait() == 2
    assert "LISTEN_FDS: descriptor 3 is not a stream socket that listens" in activated.errors()
    activated.terminate()
