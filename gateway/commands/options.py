"""Wiring: the options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="TOML file; else ./rivergate.toml, then /etc/rivergate/rivergate.toml."),
]
UrlOption = Annotated[str, typer.Option(envvar="RIVERGATE_URL", help="A running gateway.")]
KeyOption = Annotated[
    str | None, typer.Option(envvar="RIVERGATE_API_KEY", help="An API key; better in the variable than here.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LogLevel = Annotated[str, typer.Option(help="debug, info, warning or error.")]
LogFormat = Annotated[str, typer.Option(help="json: one object a line. text: for people, in colour on a terminal.")]
