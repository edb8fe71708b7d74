"""A small service manager: it hears what a service tells it, holds its socket, and starts the next process."""

import os
import secrets
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from .process import Process
from .waiting import PATIENCE

# The child does what systemd does between fork and exec: the socket becomes descriptor 3, LISTEN_PID is its own pid.
_HAND_OVER = """if True:
    import os, sys
    os.dup2(int(sys.argv[1]), 3)
    os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class NotifySocket:
    """The manager's end of sd_notify(3)."""

    def __init__(self) -> None:
        name = f"rivergate-test-{secrets.token_hex(8)}"
        self.environment = {"NOTIFY_SOCKET": f"@{name}"}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{name}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def next(self, seconds: float = PATIENCE) -> dict[str, str] | None:
        """The next message; None if no message comes within `seconds`."""
        self._socket.settimeout(seconds)
        try:
            lines = self._socket.recv(4096).decode().split("\n")
        except TimeoutError:
            return None
        return dict(line.split("=", 1) for line in lines)

    def wait_for(self, variable: str) -> dict[str, str]:
        """The next message with this variable; messages before it are dropped."""
        deadline = time.monotonic() + PATIENCE
        while (left := deadline - time.monotonic()) > 0:
            message = self.next(left)
            if message is not None and variable in message:
                return message
        raise AssertionError(f"no {variable} came")

    def drop_what_is_there(self) -> None:
        """Drop all messages that were sent up to now."""
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(4096)
        except BlockingIOError:
            pass


class HandedOver(Process):
    """`rivergate serve` on a listening socket that is handed over."""

    def __init__(self, folder: Path, file: Path, listening: socket.socket, environment: Mapping[str, str]) -> None:
        fd = listening.fileno()
        serve = ["-m", "gateway", "serve", "--config", str(file)]
        arguments = ["-S", "-E", "-c", _HAND_OVER, str(fd), *serve]
        super().__init__(folder, "handed", arguments, {**os.environ, **environment}, handed_over=[fd])


class Unit:
    """A service and its socket, which stays open between two processes."""

    def __init__(self, folder: Path, configuration: str, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self.file = folder / "unit.toml"
        self.file.write_text(configuration)
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port: int = self._listening.getsockname()[1]
        self.process = HandedOver(folder, self.file, self._listening, environment)
        self.process.wait_for_event("listening")

    def start(self) -> HandedOver:
        """Start the next process when the process before it has ended; returns it as soon as it serves."""
        self.process.terminate()
        self.process = HandedOver(self._folder, self.file, self._listening, self._environment)
        self.process.wait_for_event("listening")
        return self.process

    def close(self) -> None:
        self.process.terminate()
        self._listening.close()
