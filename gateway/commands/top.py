"""Wiring: `rivergate top`: a running gateway, watched from a terminal."""

from typing import Annotated

import typer

from gateway.commands import running
from gateway.commands.options import KeyOption, UrlOption


def top(
    url: UrlOption = "http://127.0.0.1:8080",
    key: KeyOption = None,
    token: Annotated[str | None, typer.Option(help="A viewer token for feed:statistics, in place of a key.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Print one picture and exit.")] = False,
) -> None:
    """Watch a gateway: the numbers of its dashboard. Ctrl-C ends it."""
    from gateway.commands import top_feed

    running.run(top_feed.run(top_feed.Target(url, token, key), once=once))
