"""Shell: a service under a service manager: signals, readiness, the watchdog.

SIGTERM and SIGINT drain, a second one ends at once; SIGHUP reads the configuration again. The event loop feeds the
watchdog, and only while the fan-out moves: if the loop is blocked or a pass is stuck, the manager ends the process.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Mapping

from gateway.run import systemd
from gateway.run.service import Service
from gateway.tasks import Tasks

_log = logging.getLogger("rivergate")

Reload = Callable[[], Awaitable[None]]


async def run(
    service: Service,
    reload: Reload | None = None,
    environ: Mapping[str, str] | None = None,
    on_started: Callable[[], None] = lambda: None,
) -> None:
    """Start, serve until a signal says stop, drain, stop. Raises `ConfigError` if it cannot start."""
    environ = os.environ if environ is None else environ
    loop = asyncio.get_running_loop()
    signals = asyncio.Queue[signal.Signals]()
    # The handlers stand before anybody can know that the service runs; an early signal waits in the queue.
    handled = (signal.SIGTERM, signal.SIGINT, *((signal.SIGHUP,) if reload is not None else ()))
    for number in handled:
        loop.add_signal_handler(number, signals.put_nowait, number)
    await service.start()
    on_started()
    reloads = Tasks()
    watchdog = Watchdog(service.passes, environ)
    watchdog.start()
    systemd.notify(environ, "READY=1", f"STATUS=serving on {service.address}")
    try:
        await _wait_stop(signals, reload, environ, reloads)
        systemd.notify(environ, "STOPPING=1", "STATUS=draining; a second signal ends it at once")
        drain = loop.create_task(service.drain(), name="drain")
        again = loop.create_task(_wait_stop(signals, reload, environ, reloads), name="second signal")
        await asyncio.wait([drain, again], return_when=asyncio.FIRST_COMPLETED)
        for task in (drain, again):
            task.cancel()
        await asyncio.gather(drain, again, return_exceptions=True)
        await service.stop()
    finally:
        watchdog.stop()
        await reloads.close()
        for number in handled:  # the process ends in a moment: one more signal must not make it look killed
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)


async def _wait_stop(
    signals: asyncio.Queue[signal.Signals], reload: Reload | None, environ: Mapping[str, str], reloads: Tasks
) -> None:
    """Wait for a signal to stop; reload at each SIGHUP that comes before it."""
    while await signals.get() is signal.SIGHUP:
        if reload is not None:  # a reload is a task of its own: its exception is logged, and the service runs on
            reloads.start(_reload(reload, environ), "reload")


async def _reload(reload: Reload, environ: Mapping[str, str]) -> None:
    systemd.notify(environ, *systemd.reloading())
    try:
        await reload()
    finally:
        systemd.notify(environ, "READY=1")


class Watchdog:
    """The watchdog: it tells the manager that the service lives, three times within the time that the manager waits.

    `passes`: the streams with a delivery pass under way, by id, each with the number of sends of the pass so far.
    """

    def __init__(self, passes: Callable[[], Mapping[str, int]], environ: Mapping[str, str]) -> None:
        self._passes = passes
        self._environ = environ
        self._seconds = systemd.watchdog_seconds(environ)
        self._timer: asyncio.TimerHandle | None = None
        self._before: Mapping[str, int] = {}

    def start(self) -> None:
        if self._seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds / 3, self._on_time)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def look(self) -> None:
        """Give a sign of life, unless a pass has sent nothing since the last look."""
        before, self._before = self._before, self._passes()
        stuck = [stream for stream, sends in self._before.items() if before.get(stream) == sends]
        if stuck:
            _log.error("the fan-out does not move", extra={"fields": {"streams": stuck[:10]}})
        else:
            systemd.notify(self._environ, "WATCHDOG=1")

    def _on_time(self) -> None:
        self.look()
        self.start()
