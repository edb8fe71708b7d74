"""Wiring: `rivergate top`: a running gateway, watched from a terminal."""

from typing import Annotated

import typer

from gateway.commands import running


def top(
    url: Annotated[str, typer.Option(help="A running gateway.")] = "http://127.0.0.1:8080",
    token: Annotated[str | None, typer.Option(help="A viewer token for feed:statistics.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Print one picture and exit.")] = False,
) -> None:
    """Watch a gateway: streams, upstreams, latencies. Ctrl-C ends it."""
    from gateway.commands import top_feed

    running.run(top_feed.run(top_feed.Target(url, token), once=once))
