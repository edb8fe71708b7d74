"""Wiring: `rivergate serve`: the gateway, until a signal stops it."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import config
from gateway.commands import running
from gateway.commands.options import ConfigOption, LogFormat, LogLevel
from gateway.errors import ConfigError
from gateway.tasks import in_own_thread

if TYPE_CHECKING:
    from gateway.run.service import Service


def serve(config_file: ConfigOption = None, log_level: LogLevel = "info", log_format: LogFormat = "json") -> None:
    """Run the gateway."""
    path = running.find_file(config_file)
    loaded = running.load(path)
    running.configure_logs(log_level, log_format)
    with running.authorities_unread():
        from gateway.run import supervision, systemd
        from gateway.run.service import Service

    async def serving() -> None:
        service = Service(loaded, systemd.take_sockets(os.environ))
        await supervision.run(service, lambda: _reload(service, path))

    running.run(serving())


async def _reload(service: "Service", path: Path | None) -> None:
    try:
        # A thread of its own, since to read ten thousand models takes a third of a second.
        await service.reload(await in_own_thread(lambda: config.load(path, os.environ), "reload"))
    except ConfigError as error:
        logging.getLogger("rivergate").error(
            "the new configuration is faulty; the old one stays", extra={"fields": {"faults": error.faults}}
        )
