"""Wiring: `rivergate publish`: events from standard input to a feed of a running gateway."""

import json
import sys
from typing import Annotated

import typer

from gateway.commands import running
from gateway.commands.options import JsonOption, KeyOption, UrlOption
from gateway.commands.publish_batches import InputFormat


def publish(
    feed: Annotated[str, typer.Argument(metavar="NAME", help="A feed with publish = true.")],
    url: UrlOption = "http://127.0.0.1:8080",
    key: KeyOption = None,
    form: Annotated[
        InputFormat, typer.Option("--format", help="lines: each is an event's data. ndjson: events as JSON. sse.")
    ] = InputFormat.LINES,
    as_json: JsonOption = False,
) -> None:
    """Publish what comes on standard input; exit 1 if a part of it is not published, 2 if nothing can be."""
    from gateway.commands.publisher import Publisher, Unpublished
    from gateway.commands.top_feed import Target

    failure: list[str] = []

    async def run() -> None:
        try:
            await publisher.run(sys.stdin.fileno())
        except Unpublished as error:
            failure.append(str(error))

    publisher = Publisher(Target(url), feed, key, form)
    running.run(run())
    tally = publisher.tally
    start = "\r\x1b[K" if sys.stderr.isatty() else ""
    for line in failure:
        print(f"{start}rivergate: {running.spelt_out(line)}", file=sys.stderr)
    if as_json:
        told = {"feed": feed, "taken": tally.taken, "duplicates": tally.duplicates}
        typer.echo(json.dumps({**told, "last_position": tally.last_position}))
    else:
        typer.echo(f"{'' if failure else start}published to {feed}: {tally.line()}")
    if failure:
        raise typer.Exit(1)
