"""Pure: what the models of a configuration say of their fields: keys, types, ranges, allowed values.

In: pydantic models. Out: words, which faults and the reference table share.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Loc = tuple[str | int, ...]
Table = type[BaseModel]
_TYPE_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Decimal: "a number",
    str: "text",
}


@dataclass(frozen=True, slots=True)
class Words:
    """The annotation of a field whose type does not tell everything; a `hidden` value is never repeated."""

    allowed: str = ""
    default: str = ""
    hidden: bool = False


def leaves(table: Table, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every settable key below `table` with its path; a list of tables is written `upstreams[]`."""
    for name, field in keys_of(table).items():
        inner = table_in(field)
        if inner is None:
            yield prefix + name, field
        else:
            yield from leaves(inner, f"{prefix}{name}{'[]' if is_list(field) else ''}.")


def keys_of(table: Table) -> dict[str, FieldInfo]:
    """The keys that may be set from outside: `exclude` marks the fields that only `loading` fills in."""
    return {name: field for name, field in table.model_fields.items() if not field.exclude}


def table_in(field: FieldInfo) -> Table | None:
    """The table, or the table of each entry, that a field holds; None: it holds a value."""
    kind = get_args(field.annotation)[0] if is_list(field) else field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def is_list(field: FieldInfo) -> bool:
    """Whether a field holds a list."""
    return get_origin(field.annotation) is tuple


def is_mapping(field: FieldInfo) -> bool:
    """Whether a field holds a table whose keys are free."""
    return get_origin(field.annotation) is dict


def choices(field: FieldInfo) -> list[tuple[Any, list[Any]]]:
    """The types that a field, or each item of a list, takes, each with its annotations; None is left out."""
    union = get_origin(field.annotation) in (Union, UnionType)
    kinds = get_args(field.annotation) if union else (field.annotation,)
    kinds = get_args(field.annotation)[:1] if is_list(field) else kinds
    found = []
    for kind in kinds:
        base, *marks = get_args(kind) if get_origin(kind) is Annotated else (kind,)
        inner = [extra for mark in marks for extra in getattr(mark, "metadata", [mark])]
        if base is not NoneType:
            found.append((base, [*field.metadata, *inner]))
    return found


def words_of(field: FieldInfo) -> Words:
    """The last `Words` among the annotations of a field."""
    marks = [mark for _, marks in choices(field) for mark in marks]
    return next((mark for mark in reversed(marks) if isinstance(mark, Words)), Words())


def bounds(field: FieldInfo) -> tuple[Any, Any]:
    """The lowest and the highest number that `field` takes; None where there is no limit."""
    marks = [mark for _, marks in choices(field) for mark in marks]
    return tuple(next((getattr(mark, side) for mark in marks if hasattr(mark, side)), None) for side in ("ge", "le"))  # type: ignore[return-value]


def allowed_values(field: FieldInfo, *, brief: bool = False, entry: bool = False) -> str:
    """The values that a field takes, in words that follow "must be".

    `brief`: as a table cell ("0 to 60"). `entry`: the values of one entry of a list.
    """
    if is_list(field) and not entry:
        each = allowed_values(field, brief=brief, entry=True)
        return "a list of tables ([[...]])" if table_in(field) else f"a list, each {each}"
    if said := words_of(field).allowed:
        return said
    if table_in(field):
        return "a table"
    texts: list[str] = []
    for kind, _ in choices(field):
        if get_origin(kind) is Literal:
            texts.extend(map(json.dumps, get_args(kind)))
        elif bounds(field) == (None, None):
            texts.append(_TYPE_WORDS[kind])
        else:
            texts.append(value_range(field, brief=True) if brief else f"{_TYPE_WORDS[kind]}, {value_range(field)}")
    return " or ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def value_range(field: FieldInfo, *, brief: bool = False) -> str:
    """The range of a number; `brief`: as a table cell."""
    low, high = (None if limit is None else number(limit) for limit in bounds(field))
    if high is None:
        return f"at least {low}"
    return f"{low} to {high}" if brief else f"at least {low} and at most {high}"


def number(value: float | Decimal) -> str:
    """A number as text, without a fraction that is zero."""
    return str(int(value)) if value == int(value) else str(value)
