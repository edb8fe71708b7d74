"""Shell: how a command runs: its configuration, its event loop, its faults on standard error and exit 2."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import typer

from gateway import config
from gateway.errors import ConfigError
from gateway.observe import logs

_Result = TypeVar("_Result")


def load(path: Path | None) -> config.Config:
    """The configuration in this file, or of the environment alone; ends the command if it is faulty."""
    return or_fail(lambda: config.load(path, os.environ))


def find_and_load(named: Path | None) -> config.Config:
    """The configuration of the named file, or of the one that is found."""
    return load(named or config.find(os.environ, Path.cwd()))


def or_fail(call: Callable[[], _Result]) -> _Result:
    """The result of a call; its `ConfigError` ends the command."""
    try:
        return call()
    except ConfigError as error:
        fail(error.faults)


def fail(faults: list[str]) -> NoReturn:
    """End the command: one line a fault on standard error, exit 2."""
    for fault in faults:
        print(f"rivergate: {fault}", file=sys.stderr)
    raise typer.Exit(2)


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a command in an event loop; its `ConfigError` ends the command."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        gc.enable()  # all is imported
        or_fail(lambda: runner.run(coroutine))


def configure_logs(level: str) -> None:
    """Log at this level; ends the command if there is no such level."""
    if level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        fail([f"--log-level must be debug, info, warning or error, not {level!r}"])
    logs.configure(level.upper())


def stop_signal() -> asyncio.Event:
    """An event that SIGTERM or SIGINT sets, from now on: to be made before anybody is told that the command runs."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _loop_factory() -> Any:
    """uvloop where it is installed; plain asyncio does everything, only slower."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
