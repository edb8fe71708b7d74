"""Runs the command line as users do: a process, its output in files, its end by signal."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

PATIENCE = 10.0  # seconds for what takes milliseconds on an idle machine

_Found = TypeVar("_Found")


def wait_for(look: Callable[[], _Found | None], what: str, seconds: float = PATIENCE) -> _Found:
    """What `look` finds, as soon as it does."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.002)


class Command:
    """One `rivergate` command. Its standard error and output are kept in `folder`."""

    running: list["Command"] = []  # noqa: RUF012  (a registry, for the reports of failed tests)

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        open_files: int | None = None,
    ) -> None:
        number = len(list(folder.glob("*.err")))
        self._errors = folder / f"{number:02d}-{arguments[0]}.err"
        self._output = folder / f"{number:02d}-{arguments[0]}.out"
        clean = {key: value for key, value in os.environ.items() if not key.startswith("RIVERGATE_")}
        with self._errors.open("wb") as errors, self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env={**clean, "PYTHONUNBUFFERED": "1", **(environment or {})},
                preexec_fn=None if open_files is None else lambda: _limit_open_files(open_files),
            )
        self.running.append(self)

    def errors(self) -> str:
        return self._errors.read_text()

    def output(self) -> str:
        return self._output.read_text()

    def lines(self) -> list[dict[str, Any]]:
        """The complete lines of the log so far."""
        whole = self.errors().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def wait_for_output(self, pattern: str) -> re.Match[str]:
        """The first match in what was printed."""
        return wait_for(lambda: self._look_alive() or re.search(pattern, self.output()), f"output {pattern!r}")

    def wait_for_event(self, event: str, **fields: object) -> dict[str, Any]:
        """The first line of the log with this event and these fields."""

        def look() -> dict[str, Any] | None:
            self._look_alive()
            wanted = {"event": event, **fields}.items()
            return next((line for line in self.lines() if wanted <= line.items()), None)

        return wait_for(look, f"a log line {event} with {fields}")

    def wait(self) -> int:
        """The exit status, as soon as there is one."""
        return self.process.wait(PATIENCE)

    def terminate(self) -> int:
        """Ask it to stop, as a service manager does; its exit status."""
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

    def _look_alive(self) -> None:
        if self.process.poll() is not None:
            raise AssertionError(f"ended with {self.process.returncode}: {self.errors()}")


def _limit_open_files(limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


class Gateway(Command):
    """`rivergate serve` with a configuration of which port 0 is a part."""

    def __init__(
        self,
        folder: Path,
        configuration: str,
        environment: Mapping[str, str] | None = None,
        *,
        open_files: int | None = None,
    ) -> None:
        number = len(list(folder.glob("*.toml")))
        file = folder / f"{number:02d}.toml"
        file.write_text(configuration)
        super().__init__(folder, "serve", "--config", str(file), environment=environment, open_files=open_files)
        listening = self.wait_for_event("listening")
        self.port = int(str(listening["listen"]).rpartition(":")[2])
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def ending(self, request_id: str | None) -> dict[str, Any]:
        """The line that says how a completion ended."""
        return self.wait_for_event("completion ended", request_id=request_id)
