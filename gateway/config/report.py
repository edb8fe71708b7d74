"""Pure: what follows from the models of a configuration: key names, variables, defaults, ranges, faults.

In go pydantic models and their errors, out come lines for an operator. Invariant: a fault is one printable
line, and a value is only repeated in it if it is a short scalar of a key that can hold no secret.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

Loc = tuple[str | int, ...]
Table = type[BaseModel]

ENVIRONMENT_PREFIX = "RIVERGATE_"
CONFIG_VARIABLE = "RIVERGATE_CONFIG"  # the file's path, not a key
MAX_SHOWN_CHARACTERS = 60  # of a faulty value: enough to recognise it, one line stays one line
_TYPE_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Decimal: "a number",
    str: "text",
}
# What Kubernetes sets in every pod beside a service called rivergate: not ours, and no typing error either.
_KUBERNETES_NAME = re.compile(r"RIVERGATE(_[A-Z0-9]+)*_(SERVICE_(HOST|PORT)(_[A-Z0-9]+)*|PORT_\d+_[A-Z_]+)")
_KUBERNETES_LINK = re.compile(r"(tcp|udp|sctp)://\S+")
_RANGE_ERRORS = frozenset({"greater_than_equal", "less_than_equal"})


@dataclass(frozen=True, slots=True)
class Words:
    """Annotation of a field whose type does not say it all; `hidden` values are never repeated."""

    allowed: str = ""
    default: str = ""
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: the key's location (empty: none) and what to do about it."""

    loc: Loc
    message: str


class KeyRow(NamedTuple):
    """One key of the configuration, as text for a table: the default is written as TOML."""

    key: str
    default: str
    allowed: str
    description: str


def key_path(loc: Loc) -> str:
    """`("upstreams", 0, "name")` as `upstreams[0].name`; a key that is not bare is quoted."""
    path = ""
    for key in loc:
        if isinstance(key, int):
            path += f"[{key}]"
        else:
            path += ("." if path else "") + (key if re.fullmatch(r"[\w-]+", key) else json.dumps(key))
    return path


def leaves(table: Table, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every settable key below `table` with its path; a list of tables is written `upstreams[]`."""
    for name, field in _keys(table).items():
        inner = _table_in(field)
        if inner is None:
            yield prefix + name, field
        else:
            yield from leaves(inner, f"{prefix}{name}{'[]' if _is_list(field) else ''}.")


def bounds(field: FieldInfo) -> tuple[Any, Any]:
    """The lowest and the highest number that `field` takes; None where there is no limit."""
    marks = [mark for _, marks in _choices(field) for mark in marks]
    return tuple(next((getattr(mark, side) for mark in marks if hasattr(mark, side)), None) for side in ("ge", "le"))  # type: ignore[return-value]


def rows(table: Table) -> list[KeyRow]:
    """Keys, defaults, allowed values and descriptions, in the order of the models."""
    return [
        KeyRow(path, _default(field), _allowed(field, brief=True), field.description or "")
        for path, field in leaves(table)
    ]


def toml(value: Any) -> str:
    """A default as TOML; None has no TOML and is `unset`."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | Decimal):
        return _number(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(str(value))


def overlay(root: Table, tree: dict[str, Any], environ: Mapping[str, str]) -> tuple[dict[Loc, str], list[Fault]]:
    """Put every RIVERGATE_* variable into `tree`; returns which one is behind which key, and faults."""
    found: list[tuple[Loc, str, Any]] = []
    faults = []
    for variable in filter(_is_ours, sorted(environ)):
        text = environ[variable]
        if located := _locate(root, variable):
            loc, field = located
            value = _toml_value(text)
            literal = value is None or (_takes_only_text(field) and not isinstance(value, str))
            found.append((loc, variable, text if literal else value))
        elif not _KUBERNETES_LINK.fullmatch(text):
            faults.append(_unknown_variable(root, variable))
    for loc, variable, value in sorted(found, key=lambda item: item[0]):
        if (free := _put(tree, loc, value)) is not None:
            faults.append(Fault((), f"${variable}: leaves a gap in the list; the next free index is {free}"))
    return {loc: variable for loc, variable, _ in found}, faults


def _is_ours(variable: str) -> bool:
    ours = variable.startswith(ENVIRONMENT_PREFIX) and variable != CONFIG_VARIABLE
    return ours and not _KUBERNETES_NAME.fullmatch(variable)


def _toml_value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}", parse_float=Decimal)
    except (ValueError, RecursionError):
        return None
    return parsed["value"] if len(parsed) == 1 else None


def _put(tree: dict[str, Any], loc: Loc, value: Any) -> int | None:
    """Set one value, making tables and list entries on the way; returns the free index if `loc` skips one."""
    node: Any = tree
    for depth, key in enumerate(loc, 1):
        last = depth == len(loc)
        fresh: Any = value if last else [] if isinstance(loc[depth], int) else {}
        fits = isinstance(node, list if isinstance(key, int) else dict)
        if not fits:
            return None  # the file has something else there, which is a fault of its own
        if isinstance(key, int) and key >= len(node):
            if key > len(node):
                return len(node)
            node.append(fresh)
        elif last or (isinstance(key, str) and key not in node):
            node[key] = fresh
        node = node[key]
    return None


def _locate(root: Table, variable: str) -> tuple[Loc, FieldInfo] | None:
    """The key that `RIVERGATE_UPSTREAMS__0__NAME` names, with its field; None if it names none."""
    table: Table | None = root
    field: FieldInfo | None = None
    loc: list[str | int] = []
    indexed = False
    for part in variable.removeprefix(ENVIRONMENT_PREFIX).split("__"):
        if field is not None and _is_list(field) and not indexed:
            if not re.fullmatch("0|[1-9][0-9]{0,3}", part):
                return None
            loc.append(int(part))
            indexed = True
            continue
        name = part.lower()
        if table is None or part != name.upper() or name not in table.model_fields:
            return None
        loc.append(name)
        field, indexed = table.model_fields[name], False
        table = _table_in(field)
    return (tuple(loc), field) if field is not None and table is None else None


def _takes_only_text(field: FieldInfo) -> bool:
    """Whether a value such as `2024-11-20` can only be meant literally."""
    return not _is_list(field) and all(kind is str for kind, _ in _choices(field))


def _unknown_variable(root: Table, variable: str) -> Fault:
    """The fault of a RIVERGATE_* variable that names no key."""
    names = [ENVIRONMENT_PREFIX + path.replace("[].", "__N__").replace(".", "__").upper() for path, _ in leaves(root)]
    close = get_close_matches(variable, names, 1, 0.85)
    return Fault((), f"${variable}: names no key" + (f"; did you mean {close[0]}?" if close else ""))


def tables_at(tree: Mapping[str, Any], key: str) -> Iterator[tuple[Loc, dict[str, Any]]]:
    """The tables in the list `key` of a raw tree, whatever else has been put there."""
    entries = tree.get(key)
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, dict):
            yield (key, index), entry


def duplicates(loc: Loc, tree: Mapping[str, Any], key: str, name: str) -> Iterator[Fault]:
    """A fault for each entry of the list `key` whose `name` an earlier one has."""
    first: dict[str, Loc] = {}
    for entry_loc, entry in tables_at(tree, key):
        value = entry.get(name)
        if isinstance(value, str) and first.setdefault(value, entry_loc) != entry_loc:
            earlier = key_path((*loc, *first[value]))
            yield Fault((*loc, *entry_loc, name), f"is already used by {earlier}{_shown(value)}")


def toml_fault(message: str, text: str) -> str:
    """tomllib tells the place at the end of its message; a reader looks for it behind the file's name."""
    what, _, place = message.rpartition(" (at ")
    if place == "end of document)":
        last = text.split("\n")
        place = f"line {len(last)}, column {len(last[-1]) + 1})"
    return f", {place.removesuffix(')')}: {what}"


def faults_in(error: ValidationError, root: Table) -> list[Fault]:
    """Pydantic's errors in the words of an operator, one per key (a union reports each branch)."""
    faults: dict[Loc, Fault] = {}
    for detail in error.errors(include_url=False):
        # Both only follow from another fault: an entry that is faulty does not count, nor does its default.
        counted_out = detail["type"] == "too_short" and detail["input"]
        if not counted_out and detail["type"] != "default_factory_not_called":
            fault = _fault(detail, root)
            faults.setdefault(fault.loc, fault)
    return list(faults.values())


def lines(faults: Iterable[Fault], origins: Mapping[Loc, str], root: Table) -> list[str]:
    """One printable line a fault, in the order of the sections; `origins` names the variables behind keys."""
    sections = list(root.model_fields)

    def order(fault: Fault) -> tuple[int, int]:
        section, *rest = (*fault.loc, "")
        known = sections.index(str(section)) if section in sections else len(sections)
        return known, rest[0] if rest and isinstance(rest[0], int) else -1

    told = []
    for fault in sorted(faults, key=order):
        line = f"{key_path(fault.loc)}: {fault.message}" if fault.loc else fault.message
        prefixes = (fault.loc[:end] for end in range(len(fault.loc), 0, -1))
        origin = next((origins[prefix] for prefix in prefixes if prefix in origins), None)
        told.append(_printable(f"{line} [from ${origin}]" if origin else line))
    return told


def _fault(detail: ErrorDetails, root: Table) -> Fault:
    loc, field, owner = _trace(root, detail["loc"])
    if detail["type"] == "extra_forbidden" or field is None:
        return Fault(loc, "unknown key" + _did_you_mean(str(loc[-1]), owner, root))
    if detail["type"] == "missing":
        return Fault(loc, "is required")
    if detail["type"] == "too_short":
        return Fault(loc, "needs at least one entry")
    words = _words(field)
    shown = "" if words.hidden else _shown(detail["input"])
    if detail["type"] == "value_error":
        return Fault(loc, f"{detail['ctx']['error']}{shown}")
    in_range = detail["type"] in _RANGE_ERRORS and len(_choices(field)) == 1
    allowed = _range(field) if in_range else _allowed(field, entry=isinstance(loc[-1], int))
    return Fault(loc, f"must be {allowed}{shown}")


def _trace(root: Table, loc: Loc) -> tuple[Loc, FieldInfo | None, Table]:
    """Follow `loc` through the models; the names of union branches behind a key are dropped."""
    owner, table, field = root, root, None
    path: list[str | int] = []
    at_leaf = False
    for key in loc:
        if isinstance(key, str):
            if at_leaf:
                break
            owner, field = table, _keys(table).get(key)
            inner = _table_in(field) if field else None
            at_leaf, table = inner is None, inner or table
        path.append(key)
    return tuple(path), field, owner


def _did_you_mean(key: str, owner: Table, root: Table) -> str:
    close = get_close_matches(key, _keys(owner), 1)
    elsewhere = [path for path, _ in leaves(root) if path.split(".")[-1] == key]
    guess = json.dumps(close[0]) if close else elsewhere[0] if len(elsewhere) == 1 else None
    return f"; did you mean {guess}?" if guess else ""


def _shown(value: Any) -> str:
    if isinstance(value, bool | int | float | Decimal):
        text = str(value).lower() if isinstance(value, bool) else str(value)
    elif isinstance(value, str):
        text = json.dumps(value)
    else:
        return ""
    short = text if len(text) <= MAX_SHOWN_CHARACTERS else text[:MAX_SHOWN_CHARACTERS] + "..."
    return f" (is {short})"


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def _keys(table: Table) -> dict[str, FieldInfo]:
    """What may be set from outside: `exclude` marks the fields that are only filled in by us."""
    return {name: field for name, field in table.model_fields.items() if not field.exclude}


def _choices(field: FieldInfo) -> list[tuple[Any, list[Any]]]:
    """The types a field takes (of a list: its items), each with its annotations; None is not told."""
    union = get_origin(field.annotation) in (Union, UnionType)
    kinds = get_args(field.annotation) if union else (field.annotation,)
    kinds = get_args(field.annotation)[:1] if _is_list(field) else kinds
    choices = []
    for kind in kinds:
        base, *marks = get_args(kind) if get_origin(kind) is Annotated else (kind,)
        inner = [extra for mark in marks for extra in getattr(mark, "metadata", [mark])]
        if base is not NoneType:
            choices.append((base, [*field.metadata, *inner]))
    return choices


def _words(field: FieldInfo) -> Words:
    marks = [mark for _, marks in _choices(field) for mark in marks]
    return next((mark for mark in reversed(marks) if isinstance(mark, Words)), Words())


def _is_list(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is tuple


def _table_in(field: FieldInfo) -> Table | None:
    kind = get_args(field.annotation)[0] if _is_list(field) else field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _allowed(field: FieldInfo, *, brief: bool = False, entry: bool = False) -> str:
    """`brief`: as a table cell ("0 to 60"), else to go on after "must be"; `entry`: one of the list."""
    if _is_list(field) and not entry:
        each = _allowed(field, brief=brief, entry=True)
        return "a list of tables ([[...]])" if _table_in(field) else f"a list, each {each}"
    if said := _words(field).allowed:
        return said
    if _table_in(field):
        return "a table"
    texts: list[str] = []
    for kind, _ in _choices(field):
        if get_origin(kind) is Literal:
            texts.extend(map(json.dumps, get_args(kind)))
        elif bounds(field) == (None, None):
            texts.append(_TYPE_WORDS[kind])
        else:
            texts.append(_range(field, brief=True) if brief else f"{_TYPE_WORDS[kind]}, {_range(field)}")
    return " or ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def _range(field: FieldInfo, *, brief: bool = False) -> str:
    low, high = (None if limit is None else _number(limit) for limit in bounds(field))
    if high is None:
        return f"at least {low}"
    return f"{low} to {high}" if brief else f"at least {low} and at most {high}"


def _number(value: float | Decimal) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _default(field: FieldInfo) -> str:
    if said := _words(field).default:
        return said
    return "required" if field.is_required() else toml(field.get_default(call_default_factory=True))
