"""Wiring: `rivergate demo`: the gateway in front of two simulated providers."""

import sys
from typing import Annotated

import typer

from gateway.commands import running
from gateway.commands.options import LogFormat, LogLevel


def demo(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1.")] = 8080,
    log_level: LogLevel = "warning",
    log_format: LogFormat = "text",
) -> None:
    """Run the gateway in front of two simulated providers: no key, no network, no configuration."""
    with running.authorities_unread():
        from gateway.commands import demo_gateway, demo_lines

    running.configure_logs(log_level, log_format)
    demo_lines.show_requests(sys.stdout)
    running.run(demo_gateway.run(port))
