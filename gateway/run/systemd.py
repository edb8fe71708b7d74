"""Shell: the parts of systemd's protocols that a service needs: readiness, the watchdog, sockets handed over.

Sources: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3). Outside of systemd every call does nothing.
"""

import os
import socket
import time
from collections.abc import Mapping

from gateway.errors import ConfigError

FIRST_FD = 3  # SD_LISTEN_FDS_START


def notify(environ: Mapping[str, str], *lines: str) -> bool:
    """Send lines to the service manager without waiting; returns whether there is a manager that took them."""
    address = environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as channel:
        try:
            channel.sendto("\n".join(lines).encode(), "\0" + address[1:] if address[0] == "@" else address)
        except OSError:
            return False
    return True


def reloading() -> tuple[str, str]:
    """The lines that begin a reload (`Type=notify-reload` wants the time too)."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """The longest time that the manager waits for a sign of life; None: it wants none."""
    pid, text = environ.get("WATCHDOG_PID"), environ.get("WATCHDOG_USEC", "")
    if not text.isdecimal() or int(text) == 0 or (pid is not None and pid != str(os.getpid())):
        return None
    return int(text) / 1_000_000


def take_sockets(environ: Mapping[str, str]) -> list[socket.socket]:
    """The listening sockets that were handed over, in order; none if they are for another process.

    Raises `ConfigError` for one that clients cannot be accepted from.
    """
    pid, count = environ.get("LISTEN_PID"), environ.get("LISTEN_FDS", "")
    if not count.isdecimal() or (pid is not None and pid != str(os.getpid())):
        return []
    return [_take(fd) for fd in range(FIRST_FD, FIRST_FD + int(count))]


def _take(fd: int) -> socket.socket:
    fault = ConfigError([f"LISTEN_FDS: descriptor {fd} is not a stream socket that listens"])
    try:
        listener = socket.socket(fileno=fd)
    except OSError:
        raise fault from None
    if listener.type != socket.SOCK_STREAM or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listener.detach()  # it belongs to another part of the process, so it stays open
        raise fault
    os.set_inheritable(fd, False)
    listener.setblocking(False)
    return listener
