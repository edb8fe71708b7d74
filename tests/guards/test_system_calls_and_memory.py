"""What a subscriber costs a gateway's process, as counts: system calls and bytes, never as times."""

import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.chain import PATIENCE
from tests.kit.completions import MODEL, body
from tests.kit.configuration import KEYS, configuration
from tests.kit.http_client import RawClient, call
from tests.kit.process import GatewayProcess
from tests.kit.sse_client import Crowd
from tests.kit.streams import create, wait_for_state
from tests.kit.upstreams import Upstream

SILENT = {"ttft_ms": 600_000}
STRACE = shutil.which("strace")


@pytest.fixture
def gateway(logs: Path, tmp_path: Path, alpha: Upstream) -> Iterator[GatewayProcess]:
    sections = f'[storage]\npath = "{tmp_path}/s.db"\n'
    gateway = GatewayProcess(logs, configuration([(alpha, [MODEL])], sections), KEYS)
    yield gateway
    gateway.close()


TOKENS = 200
TOGETHER = 100
REQUESTS = 50
MEMORY_CROWD = 2000
WARM_CROWD = 500  # the first subscribers cause memory that all later subscribers share
MAX_BYTES = 4096  # user-space memory of an idle subscriber; bench/fanout.py measures 500 to 600 bytes


SENDING = ("write", "writev", "sendto", "sendmsg")
ABOUT_SOCKETS = ("accept4", "close", "dup", "epoll_ctl", "getsockname", "getsockopt", "ioctl", "socket")


class SystemCalls:
    """Counts, by strace(1), the calls of these names that a process makes."""

    def __init__(self, pid: int, folder: Path, names: tuple[str, ...]) -> None:
        if STRACE is None:
            pytest.skip("strace is not installed")
        self._names = names
        self._told = folder / "strace"
        command = [STRACE, "-f", "-c", "-e", f"trace={','.join(names)}", "-o", f"{self._told}", "-p", f"{pid}"]
        self._strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._strace.stderr is not None
        line = self._strace.stderr.readline()
        if "attached" not in line:
            self._strace.wait()
            pytest.skip(f"strace may not look: {line}")

    def total(self) -> int:
        """Stop counting; returns the number of calls so far."""
        self._strace.send_signal(signal.SIGINT)
        self._strace.communicate(timeout=PATIENCE)
        rows = [line.split() for line in self._told.read_text().splitlines()]
        return sum(int(row[3]) for row in rows if row and row[-1] in self._names)


def test_an_event_to_a_subscriber_is_one_system_call_at_most(gateway: GatewayProcess, tmp_path: Path) -> None:
    stream = create(gateway, {"ttft_ms": 1000, "gap_ms": 20, "tokens": TOKENS})
    calls = SystemCalls(gateway.process.pid, tmp_path, SENDING)
    crowd = Crowd(gateway.port, [stream["events_url"]] * TOGETHER)
    crowd.bodies()
    sent = calls.total()
    crowd.leave(reset=False)
    described = wait_for_state(gateway, stream["id"], readers=0)
    assert described["deliveries"] == TOGETHER * described["events"]
    assert (
        described["sends"] <= described["deliveries"] + TOGETHER
    )  # each subscriber is sent an end, which is no delivery
    assert sent >= described["sends"], "strace has not seen them all"
    assert sent <= 1.02 * described["sends"] + 5 * TOGETHER  # 5 calls: a subscriber's head and prelude


def test_a_request_on_a_kept_connection_opens_and_asks_for_no_socket(gateway: GatewayProcess, tmp_path: Path) -> None:
    with RawClient(gateway.port) as client:

        def ask(requests: int) -> None:
            for _ in range(requests):
                client.post(body({"ttft_ms": 5, "gap_ms": 5, "tokens": 4}, stream=True))
                assert client.answer().body.endswith(b"[DONE]\n\n")

        ask(3)
        calls = SystemCalls(gateway.process.pid, tmp_path, ABOUT_SOCKETS)
        ask(REQUESTS)
        assert calls.total() <= REQUESTS / 5  # none by the requests; some room for timers of the process


def private_bytes(gateway: GatewayProcess) -> int:
    """The private user-space memory of the process, in bytes."""
    lines = Path(f"/proc/{gateway.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * MEMORY_CROWD:
        pytest.skip("the limit of open files is too low")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_an_idle_subscriber_takes_little_memory(gateway: GatewayProcess) -> None:
    stream = create(gateway, SILENT)
    crowds = []

    def join(count: int) -> int:
        crowds.append(Crowd(gateway.port, [stream["events_url"]] * count))
        crowds[-1].read(crowds[-1].have_heads)
        wait_for_state(gateway, stream["id"], readers=sum(map(len, crowds)))
        return private_bytes(gateway)

    warm = join(WARM_CROWD)
    assert (join(MEMORY_CROWD) - warm) / MEMORY_CROWD < MAX_BYTES
    for crowd in crowds:
        crowd.leave(reset=True)
    call(gateway, "DELETE", f"/v1/streams/{stream['id']}")


def test_a_subscriber_that_reads_nothing_holds_a_cursor_and_little_of_the_kernels_memory(
    gateway: GatewayProcess,
) -> None:
    """A client that reads nothing: without a limit the kernel would take all of the 3.75 MB."""
    stream = create(gateway, {"ttft_ms": 5, "gap_ms": 0, "text": ("x" * 24_999 + " ") * 150})
    with RawClient(gateway.port) as idle:
        idle.request("GET", stream["events_url"])
        described = wait_for_state(gateway, stream["id"], state="ended")
        assert described["bytes"] > 150 * 25_000
        assert described["lag_events"] > 150 * 3 // 4
