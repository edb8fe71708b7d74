"""Shell: what commands share: loading the configuration, running an event loop, and ending with faults and exit 2."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import typer

from gateway import config
from gateway.errors import ConfigError
from gateway.observe import logs

_Result = TypeVar("_Result")
_AUTHORITIES = "SSL_CERT_FILE"  # the variable by which OpenSSL finds the file of the system's authorities

# How variables begin that can make a configuration without a file: one needs an upstream or a feed.
_WHOLE_CONFIGURATIONS = ("RIVERGATE_UPSTREAMS__", "RIVERGATE_FEEDS__")


def load(path: Path | None) -> config.Config:
    """The configuration in this file, or of the environment alone; ends the command if it is faulty."""
    return or_fail(lambda: config.load(path, os.environ))


def find_and_load(named: Path | None) -> config.Config:
    """The configuration that `find_file` finds, for a command that asks no upstream: no secret has to be there."""
    path = find_file(named)
    return or_fail(lambda: config.load_without_secrets(path, os.environ))


def find_file(named: Path | None) -> Path | None:
    """The named file, or the file that `config.find` finds; ends the command if there is no configuration at all."""
    path = named or config.find(os.environ, Path.cwd())
    if path is None and not any(name.startswith(_WHOLE_CONFIGURATIONS) for name in os.environ):
        fail(
            [
                "no configuration: name one with --config, or write ./rivergate.toml or "
                f"{config.SYSTEM_FILE}; `rivergate demo` needs none"
            ]
        )
    return path


def or_fail(call: Callable[[], _Result]) -> _Result:
    """The result of a call; its `ConfigError` ends the command."""
    try:
        return call()
    except ConfigError as error:
        fail(error.faults)


def fail(faults: list[str]) -> NoReturn:
    """End the command: one line a fault on standard error, exit 2."""
    for fault in faults:
        print(f"rivergate: {spelt_out(fault)}", file=sys.stderr)
    raise typer.Exit(2)


def spelt_out(text: str) -> str:
    """The text with its control characters spelt out: it may hold words of another process for the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else f"[U+{ord(c):04X}]" for c in text)


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a command in an event loop; its `ConfigError` ends the command."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        # `gateway.__main__` had disabled the collector until everything is imported. To walk over all that once, and
        # free nothing, would take 35 ms.
        gc.freeze()
        gc.enable()
        or_fail(lambda: runner.run(coroutine))


@contextmanager
def authorities_unread() -> Iterator[None]:
    """A block in which aiohttp can be imported without its reading the system's certificate authorities.

    aiohttp reads them for its client, which a server does not use: 30 to 55 ms of a start. What is made in the block
    trusts fewer authorities, never more; TLS to upstreams is set up later, in `upstream/dial.py`.
    """
    before = os.environ.get(_AUTHORITIES)
    os.environ[_AUTHORITIES] = os.devnull
    try:
        yield
    finally:
        if before is None:
            del os.environ[_AUTHORITIES]
        else:
            os.environ[_AUTHORITIES] = before


def configure_logs(level: str, form: str = "json") -> None:
    """Log at this level and in this format; ends the command if there is no such level, or no such format."""
    formats: dict[str, logs.LogFormat] = {"json": "json", "text": "text"}
    if form not in formats:
        fail([f"--log-format must be json or text, not {form!r}"])
    if level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        fail([f"--log-level must be debug, info, warning or error, not {level!r}"])
    logs.configure(level.upper(), form=formats[form])


def stop_signal() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set from now on.

    A command makes it before it prints that it runs, so that an early signal is not lost.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _loop_factory() -> Any:
    """The factory of uvloop's loop where uvloop is installed; None stands for asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
