"""Wiring: `rivergate check`: prints every fault of a configuration, or its summary and warnings if it has none."""

from pathlib import Path
from typing import Annotated

import typer

from gateway import config
from gateway.commands import running


def check(file: Annotated[Path, typer.Argument(help="The TOML file to check.")]) -> None:
    """Validate a configuration; print every fault, exit 2 if there is one."""
    from gateway.run import build

    loaded = running.load(file)
    running.or_fail(lambda: build.probe(loaded))
    for line in config.summary(loaded):
        typer.echo(line)
    for line in config.unpriced(loaded):
        typer.echo(f"warning: {line}", err=True)
