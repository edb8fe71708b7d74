"""Runs the command line as users do: a process, its output in files, its end by signal."""

import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import log_rules
from .gateway import Gateway, write_configuration
from .logged import Logged
from .waiting import PATIENCE, wait_for


class Process(Logged):
    """A process of Python. Its standard error and output are kept in `folder`, under names with `label`."""

    def __init__(
        self,
        folder: Path,
        label: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        open_files: int | None = None,
        handed_over: Sequence[int] = (),
    ) -> None:
        """`open_files`: the process's limit of open files; `handed_over`: file descriptors that it inherits."""
        number = len(list(folder.glob("*.err")))
        self._errors = folder / f"{number:02d}-{label}.err"
        self._output = folder / f"{number:02d}-{label}.out"
        with self._errors.open("wb") as errors, self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=environment,
                pass_fds=handed_over,
                preexec_fn=None if open_files is None else lambda: _limit_open_files(open_files),
            )
        self.running.append(self)

    def errors(self) -> str:
        return self._errors.read_text()

    def output(self) -> str:
        return self._output.read_text()

    def look_alive(self) -> None:
        if self.process.poll() is not None:
            raise AssertionError(f"ended with {self.process.returncode}: {self.errors()}")

    def wait_for_output(self, pattern: str) -> re.Match[str]:
        """The first match of the pattern in what the process prints."""

        def look() -> re.Match[str] | None:
            self.look_alive()
            return re.search(pattern, self.output())

        return wait_for(look, f"output {pattern!r}")

    def wait(self) -> int:
        """Wait for the process to end; returns its exit status."""
        return self.process.wait(PATIENCE)

    def terminate(self) -> int:
        """Send SIGTERM, as a service manager does; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            if self in self.running:
                self.running.remove(self)

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Command(Process):
    """One `rivergate` command."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        open_files: int | None = None,
    ) -> None:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("RIVERGATE_")}
        fields = {**clean, "PYTHONUNBUFFERED": "1", **(environment or {})}
        super().__init__(folder, arguments[0], ["-m", "gateway", *arguments], fields, open_files=open_files)


class GatewayProcess(Command, Gateway):
    """`rivergate serve` with a configuration of which port 0 is a part."""

    def __init__(
        self,
        folder: Path,
        configuration: str,
        environment: Mapping[str, str] | None = None,
        *,
        open_files: int | None = None,
    ) -> None:
        self.file = write_configuration(folder, configuration)
        super().__init__(folder, "serve", "--config", str(self.file), environment=environment, open_files=open_files)
        listening = self.wait_for_event("listening")
        self.port = int(str(listening["listen"]).rpartition(":")[2])
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def close(self) -> None:
        self.terminate()
        assert log_rules.faults(self.errors()) == []


def _limit_open_files(limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
