"""Rewrites the tables of the reference pages that repeat the code.

    python deploy/reference/generate.py           rewrites the tables in the pages beside this file
    python deploy/reference/generate.py --check   changes nothing, prints what differs, exit 1 if something does

A table stands between `<!-- generated: NAME -->` and `<!-- end -->`. The code gives its rows and most of its columns.
Where the code has no words for a row, the last column is written by hand in the page: it is kept, found again by the
first cell of the row. A row without such words is a difference too.
"""

import ast
import asyncio
import difflib
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, get_args

import aiohttp
import typer
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

from gateway import config, errors, settlement
from gateway.api.chat_request import ChatRequest, Gateway
from gateway.cli import app
from gateway.config import Config, Optimize
from gateway.errors import Ending, RivergateError
from gateway.observe.metrics import Completion, Metrics
from gateway.relay.answer import Record
from gateway.routing.options import SHORTCUTS, RoutingOptions
from gateway.routing.strategy import WEIGHTS
from gateway.service import Service

PAGES = Path(__file__).parent
SOURCES = Path(config.__file__).parent
BLOCK = re.compile(r"(<!-- generated: ([a-z0-9 _.-]+) -->\n)(.*?)(<!-- end -->)", re.S)
NO_WORDS = "?"  # stands where a page has no words for a row yet
LOG_METHODS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}

# Codes that an error is given where it is raised, beside the one of its class.
MORE_CODES: Mapping[type[RivergateError], Sequence[str]] = {
    errors.AuthenticationFailed: ("expired_api_key",),
    errors.ConstraintNotMet: (
        "cost_constraint_exceeded",
        "latency_constraint_exceeded",
        "throughput_constraint_not_met",
        "provider_not_in_allowlist",
        "provider_blocked",
    ),
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a page. `by_hand`: the last column is written in the page, and `rows` have no cell for it."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    by_hand: bool = False

    def lines(self, before: str) -> Iterator[str]:
        """The table as Markdown; `before` is the table that stands in the page, whose words are kept."""
        words = {cells[0]: cells[-1] for cells in map(_cells, before.splitlines()) if len(cells) == len(self.head)}
        yield _line(self.head)
        yield "|" + "---|" * len(self.head)
        for row in self.rows:
            yield _line((*row, words.get(row[0], NO_WORDS)) if self.by_hand else row)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split(" | ")]


def _code(text: str) -> str:
    return f"`{text}`"


# --- configuration and commands


def configuration(section: str) -> Table:
    """The keys of one section of the configuration file."""
    rows = [row for row in config.defaults_table() if row.key.rpartition(".")[0] == section]
    head = ("key", "default", "allowed", "meaning")
    return Table(head, [(_code(row.key), row.default, row.allowed, row.description) for row in rows])


def commands() -> Table:
    """The commands of the command line, each with what it takes."""
    rows = [
        (_code(" ".join(["rivergate", *path, *_arguments(command)])), str(command.help))
        for path, command in _leaves(typer.main.get_command(app), ())
    ]
    return Table(("command", "what it does"), rows)


def options() -> Table:
    """The options of all commands."""
    rows = [
        (_code(" ".join(path)), _code(option.opts[0]), _default(option), str(option.help))
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
    return "" if option.default in (None, False) else _code(str(option.default))


# --- requests


def request_fields(model: type[BaseModel], prefix: str = "", leave_out: str = "-") -> Table:
    """The fields of a part of a request, with what is allowed and the default; nested objects field by field.

    Fields that begin with `leave_out` have a table of their own.
    """
    schema = model.model_json_schema()
    rows = [row for row in _fields(schema, schema, prefix) if not row[0].startswith(f"`{leave_out}")]
    return Table(("field", "allowed", "default", "meaning"), rows, by_hand=True)


def _fields(schema: Mapping[str, Any], root: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, ...]]:
    required = schema.get("required", ())
    for name, field in schema["properties"].items():
        if (nested := _nested(field, root)) is not None:
            yield from _fields(nested, root, f"{prefix}{name}.")
        else:
            default = "required" if name in required else _json(field.get("default"))
            yield _code(prefix + name), _allowed(field), default


def _nested(field: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema of the object that the field holds, if its fields are known."""
    for choice in (field, *field.get("anyOf", ())):
        if "$ref" in choice:
            found: Mapping[str, Any] = root["$defs"][choice["$ref"].rpartition("/")[2]]
            return found
    return None


def _allowed(field: Mapping[str, Any]) -> str:
    """What JSON Schema says of a field, in words; null is left out, since it means that the field is not set."""
    choices = [one for one in field.get("anyOf", ()) if one.get("type") != "null"]
    if {one.get("type") for one in choices} == {"number", "integer"}:  # one kind of number for people
        choices = [{**field, "type": "number", "anyOf": ()}]
    if choices:
        return " or ".join(_allowed(one) for one in choices)
    if "enum" in field:
        return ", ".join(map(_code, field["enum"]))
    low, high = field.get("minimum", field.get("ge")), field.get("maximum")
    above = field.get("exclusiveMinimum", field.get("gt"))
    kind = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
    match field.get("type"):
        case "array":
            return f"list of {_allowed(field['items'])}s{_count(field)}"
        case "object":
            return "object"
        case name:
            limits = [f"from {low}"] * (low is not None) + [f"above {above}"] * (above is not None)
            return " ".join([kind[str(name)], *limits, *([f"to {high}"] * (high is not None))])


def _count(field: Mapping[str, Any]) -> str:
    low, high = field.get("minItems"), field.get("maxItems")
    if high is not None:
        return f", {low or 0} to {high} of them"
    return f", at least {low}" if low else ""


def _json(value: Any) -> str:
    """A default as JSON; null is the value of a field that is not set."""
    return "not set" if value is None else _code(json.dumps(value).strip('"'))


def strategies() -> Table:
    """How much each strategy looks at cost, time to first token and throughput."""
    rows = [(_code(name), *(f"{share:.2f}" for share in shares)) for name, shares in WEIGHTS.items()]
    rows += [(_code(name), "-", "-", "-") for name in get_args(Optimize) if name not in WEIGHTS]
    return Table(("strategy", "cost", "TTFT", "throughput"), rows)


def shortcuts() -> Table:
    """The endings of a model's name that choose a strategy."""
    names: dict[str, list[str]] = {}
    for shortcut, strategy in SHORTCUTS.items():
        names.setdefault(strategy, []).append(_code(f":{shortcut}"))
    return Table(("behind the model's name", "strategy"), [(", ".join(one), _code(to)) for to, one in names.items()])


# --- errors and endings


def error_table() -> Table:
    """Every status, type and code that a client can get."""
    rows: dict[str, tuple[str, ...]] = {}
    for kind in _kinds(RivergateError):
        for code in (kind.code, *MORE_CODES.get(kind, ())):
            retry = "yes" if kind.retryable else "no"
            name = f"{kind.status} {_code(code)}"
            rows.setdefault(name, (name, _code(kind.type), retry, _code(kind.ending)))
    head = ("status and code", "type", "retry", "ending", "when")
    return Table(head, sorted(rows.values()), by_hand=True)


def _kinds(kind: type[RivergateError]) -> Iterator[type[RivergateError]]:
    """The class and all below it that are raised as they are."""
    if kind not in (errors.GatewayError,):  # a branch of the tree only
        yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


def endings() -> Table:
    """Why a stream, or one subscriber of it, came to its end."""
    return Table(("ending", "meaning"), [(_code(one.value),) for one in Ending], by_hand=True)


# --- metrics and log lines


def metrics() -> Table:
    """Every metric with its kind, its labels and its text."""
    families = {family.name: family for text in _expositions() for family in text_string_to_metric_families(text)}
    rows = []
    for name, family in families.items():
        labels = dict.fromkeys(label for sample in family.samples for label in sample.labels if label != "le")
        shown = name + "_total" * (family.type == "counter")
        rows.append((_code(shown), family.type, ", ".join(map(_code, labels)), family.documentation))
    return Table(("metric", "kind", "labels", "meaning"), [row for row in rows if "_created" not in row[0]])


def _expositions() -> Iterator[str]:
    """What a running gateway tells, and then, for its labels, what one tells after a completion with everything."""
    yield asyncio.run(_scrape())
    told = Metrics(tuple)
    told.on_completion(Completion("m", "u", "stopped", True, 0.1, 1.0, 1, 2, 1, 0.1))
    yield told.exposition().decode()


async def _scrape() -> str:
    """`/metrics` of a gateway that has one upstream and one feed, neither of which is asked for anything."""
    with tempfile.TemporaryDirectory() as folder:
        listen = f"unix:{folder}/listen"
        settings = {
            "server": {"listen": listen, "max_connections": 10},
            "storage": {"path": f"{folder}/rivergate.db"},
            "upstreams": [{"name": "u", "base_url": "http://127.0.0.1:9/v1", "models": [{"id": "m"}]}],
            "feeds": [{"name": "f", "url": "http://127.0.0.1:9/"}],
        }
        service = Service(Config.model_validate(settings))
        switch_interval = sys.getswitchinterval()
        await service.start()
        try:
            connector = aiohttp.UnixConnector(listen.removeprefix("unix:"))
            async with aiohttp.ClientSession(connector=connector) as session, session.get("http://g/metrics") as got:
                return await got.text()
        finally:
            await service.stop()
            sys.setswitchinterval(switch_interval)  # a service changes it for its whole process


def log_lines() -> Table:
    """Every line of the log that the code can write, by its event."""
    found: dict[str, str] = {}
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call) and (line := _logged(node)) is not None:
                found.setdefault(*line)
    head = ("event", "level", "fields, and what to do")
    return Table(head, [(_code(event), level) for event, level in sorted(found.items())], by_hand=True)


def _logged(call: ast.Call) -> tuple[str, str] | None:
    """The event and the level, if this call writes a line."""
    if not isinstance(call.func, ast.Attribute):
        return None
    name, arguments = call.func.attr, call.args
    if name == "tell" and "logger" not in ast.unparse(call.func.value):  # `logs.tell(logger, event, fields)`
        name, arguments = "info", arguments[1:]
    on_logger = re.search(r"log(ger|s)?\b|getLogger", ast.unparse(call.func.value))
    if name not in LOG_METHODS or not on_logger or not arguments or not isinstance(arguments[0], ast.Constant):
        return None
    event = str(arguments[0].value)
    return re.sub(r"%[sr]", "NAME" if "task" in event else "ID", event), LOG_METHODS[name]


def completion_fields() -> Table:
    """The fields of the line that is written for every completion."""
    record = Record(
        "", "", "", None, Ending.COMPLETED, None, None, None, Decimal(0), "", None, None, 0.0, attempts=()
    )
    rows = [(_code(name),) for name in settlement.log_fields(record, None)]
    return Table(("field", "meaning"), rows, by_hand=True)


SECTIONS = ("server", "stream", "ttft", "routing", "upstreams[]", "upstreams[].models[]", "feeds[]", "storage")
TABLES: Mapping[str, Callable[[], Table]] = {
    **{f"configuration {name.replace('[]', '')}": partial(configuration, name) for name in SECTIONS},
    "commands": commands,
    "options": options,
    "errors": error_table,
    "endings": endings,
    "fields of a request": partial(request_fields, ChatRequest, leave_out="gateway."),
    "fields of gateway": partial(request_fields, Gateway, "gateway."),
    "fields of routing": partial(request_fields, RoutingOptions),
    "strategies": strategies,
    "shortcuts": shortcuts,
    "metrics": metrics,
    "log lines": log_lines,
    "fields of a completion": completion_fields,
}


def rewritten(text: str) -> str:
    """The page with every generated table as the code has it now. Raises `KeyError` for a table that is not known."""
    return BLOCK.sub(lambda found: found[1] + "\n".join(TABLES[found[2]]().lines(found[3])) + f"\n{found[4]}", text)


def differences() -> list[str]:
    """What the pages say otherwise than the code, as a diff, and what is missing in them; empty if nothing is."""
    told: list[str] = []
    named: list[str] = []
    for page in sorted(PAGES.glob("*.md")):
        before = page.read_text()
        after = rewritten(before)
        named += [found[2] for found in BLOCK.finditer(before)]
        told += difflib.unified_diff(before.splitlines(), after.splitlines(), page.name, "the code", lineterm="", n=0)
        told += [
            f"{page.name}: no words for: {line}" for line in after.splitlines() if line.endswith(f"| {NO_WORDS} |")
        ]
    told += [f"no page has the table {name!r}" for name in TABLES if name not in named]
    sources = "".join(path.read_text() for path in SOURCES.rglob("*.py"))
    told += [
        f"no code raises {code}" for codes in MORE_CODES.values() for code in codes if f'"{code}"' not in sources
    ]
    return told


def main() -> int:
    if "--check" in sys.argv[1:]:
        told = differences()
        print("\n".join(told) or "the pages say what the code says")
        return bool(told)
    for page in sorted(PAGES.glob("*.md")):
        page.write_text(rewritten(page.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
