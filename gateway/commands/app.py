"""Wiring: the command line: its commands, one file each.

What only one command needs is imported when that command runs, so that the server starts without importing the
simulator or the picture of `rivergate top`.
"""

from typing import Annotated

import typer

from gateway import __version__
from gateway.commands.check import check
from gateway.commands.demo import demo
from gateway.commands.keys import keys
from gateway.commands.publish import publish
from gateway.commands.serve import serve
from gateway.commands.sim import sim
from gateway.commands.token import token
from gateway.commands.top import top
from gateway.commands.usage import usage

app = typer.Typer(
    name="rivergate",
    help="An OpenAI-compatible streaming gateway.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (serve, demo, check, usage, token, top, publish, sim):
    app.command()(command)
app.add_typer(keys, name="keys")


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"rivergate {__version__}")
        raise typer.Exit
