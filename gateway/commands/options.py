"""Wiring: the options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="TOML file; else ./rivergate.toml, then /etc/rivergate/rivergate.toml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LogLevel = Annotated[str, typer.Option(help="debug, info, warning or error.")]
LogFormat = Annotated[str, typer.Option(help="json: one object a line. text: for people, in colour on a terminal.")]
