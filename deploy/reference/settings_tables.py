"""Pure: tables of what people set: the configuration and the command line."""

from collections.abc import Iterator
from typing import Any

import typer

from gateway import config
from gateway.commands.app import app
from table import Table, code

SECTIONS = (
    "server",
    "stream",
    "ttft",
    "routing",
    "upstreams[]",
    "upstreams[].models[]",
    "feeds[]",
    "viewers",
    "storage",
)


def configuration(section: str) -> Table:
    """The keys of one section of the configuration file."""
    rows = [row for row in config.defaults_table() if row.key.rpartition(".")[0] == section]
    head = ("key", "default", "allowed", "meaning")
    return Table(head, [(code(row.key), row.default, row.allowed, row.description) for row in rows])


def commands() -> Table:
    """The commands of the command line, each with what it takes."""
    rows = [
        (code(" ".join(["rivergate", *path, *_arguments(command)])), str(command.help))
        for path, command in _leaves(typer.main.get_command(app), ())
    ]
    return Table(("command", "what it does"), rows)


def options() -> Table:
    """The options of all commands."""
    rows = [
        (code(" ".join(path)), code(option.opts[0]), _default(option), str(option.help))
        for path, command in _leaves(typer.main.get_command(app), ())
        for option in command.params
        if option.param_type_name == "option"
    ]
    return Table(("command", "option", "default", "meaning"), rows)


def _leaves(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The commands without commands below them, with their names."""
    for name, below in getattr(command, "commands", {}).items():
        yield from _leaves(below, (*path, name))
    if not hasattr(command, "commands"):
        yield path, command


def _arguments(command: Any) -> list[str]:
    return [str(one.metavar or one.name).upper() for one in command.params if one.param_type_name == "argument"]


def _default(option: Any) -> str:
    if option.required:
        return "required"
    return "" if option.default in (None, False) else code(str(option.default))
