"""A running gateway as tests see it, and the gateway that runs inside the test process.

`LocalGateway` is the whole service on a loopback port, in an event loop and a thread of its own. It starts in
milliseconds. What needs a process (signals, limits, a count of system calls) takes `GatewayProcess` of `process.py`.
"""

import asyncio
import json
import logging
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from gateway import config
from gateway.errors import ConfigError
from gateway.observe.logs import JsonFormatter
from gateway.run.service import Service

from . import log_rules
from .logged import Logged
from .turns import TurnWatch, collector_as_in_service, slowness
from .waiting import PATIENCE

TRIES = 3  # of a measurement that other programs on the machine may disturb

_Result = TypeVar("_Result")


class Gateway(Logged):
    """A running gateway: where it listens, and what it has logged."""

    port: int
    url: str

    @abstractmethod
    def close(self) -> None:
        """Stop the gateway and check its log by `log_rules`."""


def write_configuration(folder: Path, configuration: str) -> Path:
    """A new file with this configuration, and with a ledger of its own unless the configuration names one."""
    number = len(list(folder.glob("*.toml")))
    file = folder / f"{number:02d}.toml"
    storage = "" if "[storage]" in configuration else f'\n[storage]\npath = "{folder}/{number:02d}.db"\n'
    file.write_text(configuration + storage)
    return file


class LocalGateway(Gateway):
    """The gateway in this process; `environment` is what its configuration sees of the environment."""

    def __init__(self, folder: Path, configuration: str, environment: Mapping[str, str] | None = None) -> None:
        self.file = write_configuration(folder, configuration)
        self._environment = dict(environment or {})
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gateway", daemon=True)
        self._thread.start()
        self._log = _ThreadLog(self._thread)
        try:
            self._service = self._run(_start(config.load(self.file, self._environment)))
        except ConfigError:
            self._end_thread()
            raise
        self.port = self._service.port
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.running.append(self)

    def errors(self) -> str:
        return self._log.text()

    def lines(self) -> list[dict[str, Any]]:
        return self._log.lines()

    def reload(self, content: str) -> dict[str, Any]:
        """Reload with this configuration; returns the log line that tells the outcome. Raises `ConfigError`."""
        before = len(self.lines())
        self.file.write_text(content)
        self._call_reload(config.load(self.file, self._environment))
        return next(line for line in self.lines()[before:] if line["event"] == "configuration reloaded")

    def turn(self) -> None:
        """Return once its event loop has read whatever clients have sent up to now."""
        for _ in range(2):  # the first may be the turn that is under way
            self._run(asyncio.sleep(0))

    @contextmanager
    def watched(self) -> Iterator[TurnWatch]:
        """Watch the turns of its event loop, with the collector as a process of its own would have it."""
        watch = TurnWatch()
        with collector_as_in_service():
            self._run(_call(watch.start))
            yield watch
            self._run(_call(watch.stop))

    def watch(self, ask: Callable[[], _Result], bound: float) -> tuple[_Result, float]:
        """What `ask` returns, and the longest turn of the loop meanwhile, in seconds of processor time.

        A turn over the bound is looked at again, up to three times, and measured by the speed of the machine: a slow
        machine, or another program on it, is no fault of the gateway.
        """
        longest = list[float]()
        while not longest or (longest[-1] >= bound and len(longest) < TRIES):
            with self.watched() as watch:
                result = ask()
            assert watch.turns > 3  # the watch has seen the loop turn
            longest.append(watch.longest if watch.longest < bound else watch.longest / slowness())
        return result, min(longest)

    def block(self, seconds: float) -> None:
        """Block the gateway's event loop for this many seconds."""
        self._loop.call_soon_threadsafe(time.sleep, seconds)

    def close(self) -> None:
        if self not in self.running:
            return
        self.running.remove(self)
        try:
            self._run(self._service.stop())
        finally:
            self._end_thread()
        faults = log_rules.faults(self.errors())
        assert not faults, faults

    def _call_reload(self, settings: config.Config) -> None:
        async def reload() -> None:
            await self._service.reload(settings)

        self._run(reload())

    def _run(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)

    def _end_thread(self) -> None:
        self._run(_wait_for_other_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._log.close()


async def _call(function: Callable[[], None]) -> None:
    function()


async def _wait_for_other_tasks() -> None:
    """Let aiohttp end the tasks of connections that have just been lost."""
    if others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others, timeout=PATIENCE)


async def _start(settings: config.Config) -> Service:
    service = Service(settings, tunes_collector=False)
    await service.start()
    return service


class _ThreadLog(logging.Handler):
    """The lines that one thread logs."""

    def __init__(self, thread: threading.Thread) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(JsonFormatter())
        self._thread = thread
        self._lines: list[tuple[str, dict[str, Any]]] = []
        logging.getLogger("rivergate").setLevel(logging.INFO)
        logging.getLogger().addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if threading.get_ident() == self._thread.ident:
            line = self.format(record)
            self._lines.append((line, json.loads(line)))

    def text(self) -> str:
        return "".join(f"{text}\n" for text, _ in self._lines)

    def lines(self) -> list[dict[str, Any]]:
        return [fields for _, fields in self._lines]

    def close(self) -> None:
        logging.getLogger().removeHandler(self)
        super().close()
