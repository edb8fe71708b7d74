"""The units: valid, hardened, and in step with the program's own limits."""

import itertools
import re
from pathlib import Path

import pytest

from gateway import config
from gateway.run import descriptors, listeners, service

from .places import DEPLOY, run, settings, tool

MAX_EXPOSURE = 1.3
# The system calls of a run (strace -f -c: start, streams, subscribers, name lookups, ledger, drain), without
# io_uring, which libuv tries first.
NEEDED = frozenset(
    """
    accept4 access arch_prctl bind brk clock_nanosleep clone3 close connect dup epoll_create1 epoll_ctl epoll_pwait
    eventfd2 execve exit_group fcntl fdatasync fsync ftruncate futex getcwd getdents64 geteuid getpeername getpid
    getrandom getsockname getsockopt gettid ioctl kill link listen lseek madvise mmap mprotect munmap newfstatat
    openat pipe2 pread64 prlimit64 pwrite64 read readlink recvfrom rename rseq rt_sigaction rt_sigprocmask
    rt_sigreturn sched_getaffinity sendmsg sendto set_robust_list set_tid_address setsockopt shutdown socket
    socketpair statx sysinfo uname unlink write writev
    """.split()  # noqa: SIM905
)


def seconds(key: str) -> float:
    (value,) = settings("rivergate.service")[key]
    return float(value)


def expanded(names: str) -> set[str]:
    """The names of system calls, with each group (`@name`) replaced by its members."""
    found: set[str] = set()
    for name in names.split():
        if name.startswith("@"):
            listing = run(tool("systemd-analyze"), "syscall-filter", name).stdout
            inside = [line.strip() for line in listing.splitlines()[1:] if not line.strip().startswith("#")]
            found |= expanded(" ".join(inside))
        else:
            found.add(name)
    return found


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """Copies of both units, whose program is one that exists on this machine."""
    copies = [tmp_path / "rivergate.service", tmp_path / "rivergate.socket"]
    for copy in copies:
        copy.write_text((DEPLOY / copy.name).read_text().replace("/opt/rivergate/bin/rivergate", "/bin/true"))
    return copies


def test_systemd_finds_no_fault_in_the_units(units: list[Path]) -> None:
    done = run(tool("systemd-analyze"), "verify", "--man=no", *units)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "rivergate" in line]) == (0, [])


def test_the_service_is_exposed_as_little_as_it_says() -> None:
    done = run(tool("systemd-analyze"), "security", "--offline=true", "--no-pager", DEPLOY / "rivergate.service")
    found = re.search(r"Overall exposure level for rivergate\.service: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= MAX_EXPOSURE


def test_the_filter_lets_through_every_system_call_of_the_program() -> None:
    allowed: set[str] = set()
    for line in settings("rivergate.service")["SystemCallFilter"]:
        if line.startswith("~"):
            allowed -= expanded(line[1:])
        else:
            allowed |= expanded(line)
    assert NEEDED - allowed == set()
    assert {"mount", "ptrace", "bpf", "io_uring_setup", "setuid", "reboot"} & allowed == set()


def test_a_stop_has_time_for_the_drain_and_the_ledger() -> None:
    assert seconds("TimeoutStopSec") >= config.ServerSettings().drain_seconds + 2 * service.LEDGER_SECONDS + 5


def test_every_connection_that_is_allowed_finds_its_files() -> None:
    assert seconds("LimitNOFILE") >= 5 * config.ServerSettings().max_connections + descriptors.RESERVED


def test_the_socket_listens_where_the_program_does_by_itself_with_the_same_queue() -> None:
    found = settings("rivergate.socket")
    assert found["ListenStream"] == [str(config.ServerSettings().listen)]
    assert found["Backlog"] == [str(listeners.BACKLOG)]


def test_the_service_is_told_about_the_sockets_and_keeps_trying() -> None:
    found = settings("rivergate.service")
    expected = {
        "Type": ["notify"],
        "NotifyAccess": ["main"],
        "Restart": ["on-failure"],
        "StartLimitIntervalSec": ["0"],
        "Requires": ["rivergate.socket"],
        "Sockets": ["rivergate.socket"],
        "ExecReload": ["kill -HUP $MAINPID"],
        "StateDirectory": ["rivergate"],
    }
    assert {key: found.get(key) for key in expected} == expected
    assert config.SYSTEM_FILE.as_posix() in found["ExecStart"][0]


def test_the_example_of_a_configuration_is_valid_with_its_credential(tmp_path: Path) -> None:
    (credential,) = settings("rivergate.service")["LoadCredential"]
    name = f"{credential.partition(':')[0]}_openai"
    (tmp_path / name).write_text("sk-test\n")
    loaded = config.load(DEPLOY / "rivergate.toml", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert loaded.upstreams[0].api_key_file == str(tmp_path / name)
    assert Path(loaded.storage.path).parent == Path("/var/lib") / settings("rivergate.service")["StateDirectory"][0]


def test_the_commands_of_an_operator_see_what_the_service_sees() -> None:
    found, script = settings("rivergate.service"), (DEPLOY / "rivergate-admin").read_text()
    for key in ("StateDirectory", "StateDirectoryMode", "LoadCredential", "EnvironmentFile", "UMask"):
        assert f"--property={key}={found[key][0]}" in script
    assert f"--uid={found['User'][0]} --gid={found['Group'][0]}" in script
    assert f"RIVERGATE_CONFIG={config.SYSTEM_FILE}" in script


def test_every_kernel_setting_has_its_reason_above_it() -> None:
    lines = (DEPLOY / "90-rivergate.conf").read_text().splitlines()
    names = []
    for above, line in itertools.pairwise(lines):
        if line and not line.startswith("#"):
            assert above.startswith("# ")
            assert re.fullmatch(r"-?[a-z0-9_.]+ = [0-9]+( [0-9]+)?", line)
            names.append(line.split()[0])
    assert len(names) == len(set(names)) >= 5
