"""Wiring: `rivergate usage`: what was used, and what it cost, from the books."""

import json
from typing import Annotated

import typer

from gateway.commands import running
from gateway.commands.options import ConfigOption, JsonOption


def usage(
    by: Annotated[str, typer.Option(help="One or more of key, model, upstream, day: a,b,c.")] = "day",
    start: Annotated[str | None, typer.Option("--from", help="First UTC day; else 30 days in all.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Last UTC day; else today.")] = None,
    as_json: JsonOption = False,
    config_file: ConfigOption = None,
) -> None:
    """What was used and what it cost. It needs no secret of an upstream."""
    from gateway.commands import usage_report

    found = running.or_fail(lambda: usage_report.report(running.find_and_load(config_file), by, start, end))
    typer.echo(json.dumps(usage_report.as_json(found), indent=2) if as_json else usage_report.table(found))
