"""Pure: the reference table of a configuration: each key with its default, its range and one sentence."""

import json
from decimal import Decimal
from typing import Any, NamedTuple

from pydantic.fields import FieldInfo

from gateway.config.fields import Table, allowed_values, leaves, number, words_of


class KeyRow(NamedTuple):
    """One key of the configuration, as text for a table: the default is written as TOML."""

    key: str
    default: str
    allowed: str
    description: str


def rows(table: Table) -> list[KeyRow]:
    """Keys, defaults, allowed values and descriptions, in the order of the models."""
    return [
        KeyRow(path, _default(field), allowed_values(field, brief=True), field.description or "")
        for path, field in leaves(table)
    ]


def toml(value: Any) -> str:
    """A default as TOML; None, which TOML cannot express, is `unset`."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | Decimal):
        return number(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml, value))}]"
    return "{}" if value == {} else json.dumps(str(value))


def _default(field: FieldInfo) -> str:
    if said := words_of(field).default:
        return said
    return "required" if field.is_required() else toml(field.get_default(call_default_factory=True))
