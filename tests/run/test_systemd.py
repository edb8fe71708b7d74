"""systemd's protocols, with environments as dictionaries, real datagram sockets and real descriptors."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.run import systemd

OWN, OTHER = str(os.getpid()), str(os.getppid())


@pytest.fixture
def channel() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.settimeout(5)
        yield channel


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


# --- readiness


def test_outside_of_systemd_nobody_is_told() -> None:
    assert not systemd.notify({}, "READY=1")
    assert not systemd.notify({"NOTIFY_SOCKET": ""}, "READY=1")


def test_lines_reach_a_socket_with_a_path_as_one_message(channel: socket.socket, tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    channel.bind(path)
    assert systemd.notify({"NOTIFY_SOCKET": path}, "READY=1", "STATUS=serving")
    assert channel.recv(4096) == b"READY=1\nSTATUS=serving"


def test_lines_reach_an_abstract_socket(channel: socket.socket) -> None:
    name = f"rivergate-{secrets.token_hex(8)}"
    channel.bind(f"\0{name}")
    assert systemd.notify({"NOTIFY_SOCKET": f"@{name}"}, "STOPPING=1")
    assert channel.recv(4096) == b"STOPPING=1"


@pytest.mark.parametrize("address", ["vsock:2:1234", "relative/path", "/nowhere/at/all", "/" + "long/" * 100])
def test_a_manager_that_cannot_be_reached_is_no_failure(address: str) -> None:
    assert not systemd.notify({"NOTIFY_SOCKET": address}, "READY=1")


def test_a_manager_that_does_not_read_holds_nobody_up(channel: socket.socket, tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    channel.bind(path)
    sent = [systemd.notify({"NOTIFY_SOCKET": path}, "WATCHDOG=1") for _ in range(2000)]
    assert sent[0]
    assert not sent[-1]


def test_a_reload_begins_with_the_time_of_the_monotonic_clock() -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    first, second = systemd.reloading()
    name, _, microseconds = second.partition("=")
    assert (first, name) == ("RELOADING=1", "MONOTONIC_USEC")
    assert before <= int(microseconds) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


# --- the watchdog


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": OWN}, 1.5),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": OTHER}, None),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": ""}, None),
        ({}, None),
        ({"WATCHDOG_USEC": ""}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
    ],
)
def test_the_time_of_the_watchdog_is_read_from_the_environment(
    environ: dict[str, str], seconds: float | None
) -> None:
    assert systemd.watchdog_seconds(environ) == seconds


# --- sockets


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "0"},
        {"LISTEN_FDS": ""},
        {"LISTEN_FDS": "two"},
        {"LISTEN_FDS": "²"},
        {"LISTEN_FDS": "-1", "LISTEN_PID": OWN},
        {"LISTEN_FDS": "1", "LISTEN_PID": OTHER},
        {"LISTEN_FDS": "1", "LISTEN_PID": "nobody"},
    ],
)
def test_without_sockets_and_with_sockets_of_another_process_nothing_is_taken(environ: dict[str, str]) -> None:
    assert systemd.take_sockets(environ) == []


def with_first_fd(monkeypatch: pytest.MonkeyPatch, fd: int, count: int = 1) -> dict[str, str]:
    """Let the descriptors that are handed over begin at `fd`; returns the environment that announces them."""
    monkeypatch.setattr(systemd, "FIRST_FD", fd)
    return {"LISTEN_FDS": str(count), "LISTEN_PID": OWN}


def test_sockets_are_taken_in_order_and_not_left_to_children(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "sock"))
        unix.listen()
        os.dup2(tcp.fileno(), 700)
        os.dup2(unix.fileno(), 701)
        taken = systemd.take_sockets(with_first_fd(monkeypatch, 700, 2))
        try:
            assert [taken_socket.getsockname() for taken_socket in taken] == [
                tcp.getsockname(),
                str(tmp_path / "sock"),
            ]
            assert [taken_socket.family for taken_socket in taken] == [socket.AF_INET, socket.AF_UNIX]
            for taken_socket in taken:
                assert not os.get_inheritable(taken_socket.fileno())
                assert not taken_socket.getblocking()
        finally:
            for taken_socket in taken:
                taken_socket.close()


def test_a_process_takes_the_socket_that_it_was_started_with(listening: socket.socket) -> None:
    script = (
        "import os, sys\n"
        "os.dup2(int(sys.argv[1]), 3)\n"
        "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n"
        "os.execv(sys.executable, [sys.executable, '-c', '''if True:\n"
        "    import os\n"
        "    from gateway.run.systemd import take_sockets\n"
        "    print(*[one.getsockname()[1] for one in take_sockets(os.environ)])\n"
        "'''])\n"
    )
    command = [sys.executable, "-c", script, str(listening.fileno())]
    ended = subprocess.run(command, pass_fds=[listening.fileno()], capture_output=True, timeout=20, check=True)
    assert int(ended.stdout) == listening.getsockname()[1]


def test_a_descriptor_that_is_no_listening_stream_socket_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (
        (tmp_path / "file").open("wb") as file,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.socket() as silent,
    ):
        for fd in (file.fileno(), datagrams.fileno(), silent.fileno(), 709):
            with pytest.raises(ConfigError, match=f"LISTEN_FDS: descriptor {fd} is not"):
                systemd.take_sockets(with_first_fd(monkeypatch, fd))
        for taken_socket in (file, datagrams, silent):
            os.fstat(
                taken_socket.fileno()
            )  # the descriptor is refused but stays open, because it belongs to somebody else
