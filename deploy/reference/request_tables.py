"""Pure: tables of what requests say and of how they can end: fields, strategies, errors, endings."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from gateway import errors
from gateway.endings import Ending
from gateway.errors import RivergateError
from gateway.routing.strategies import STRATEGIES
from table import Table, code, yes

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
    errors.UnsupportedEncoding: ("unsupported_media_type",),
}


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
            yield code(prefix + name), _allowed(field), default


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
        return ", ".join(map(code, field["enum"]))
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
    return "not set" if value is None else code(json.dumps(value).strip('"'))


def strategies() -> Table:
    """The strategies, with their other names and the words behind a model's name that choose them."""
    rows = []
    for one in STRATEGIES:
        words = [word for word, name in STRATEGIES.shortcuts.items() if name == one.name]
        cells = (", ".join(map(code, one.aliases)), ", ".join(code(f":{word}") for word in words))
        rows.append((code(one.name), one.sentence, *cells))
    return Table(("strategy", "who is asked first", "other names", "behind the model's name"), rows)


def error_table() -> Table:
    """Every status, type and code that a client can get."""
    rows: dict[str, tuple[str, ...]] = {}
    for kind in _kinds(RivergateError):
        for word in (kind.code, *MORE_CODES.get(kind, ())):
            name = f"{kind.status} {code(word)}"
            rows.setdefault(name, (name, code(kind.type), yes(kind.retryable), code(kind.ending)))
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
    head = ("ending", "meaning", "whose doing", "a fault", "upstream closed early", "a subscriber is told")
    return Table(head, [_ending_row(ending) for ending in Ending])


def _ending_row(ending: Ending) -> tuple[str, ...]:
    facts = (ending.is_fault, ending.aborts_upstream, ending.is_told)
    return (code(ending), ending.sentence, ending.blame.value, *map(yes, facts))
