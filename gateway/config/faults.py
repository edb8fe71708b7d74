"""Pure: the words for faults: what is wrong with a configuration becomes lines for an operator.

The invariant: a fault is one printable line, and a value is only repeated in it if it is a short scalar of a key that
can hold no secret.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from enum import Enum
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from gateway.config.fields import (
    Loc,
    Table,
    allowed_values,
    choices,
    is_mapping,
    keys_of,
    leaves,
    table_in,
    value_range,
    words_of,
)

MAX_SHOWN_CHARACTERS = 60  # a faulty value is cut here: enough to recognise it, and the fault stays one line
NAME = re.compile("[A-Za-z0-9._-]{1,64}")  # the name of an upstream or a feed; any other may be a pasted secret
# What other programs call a key of ours, and what is too short to be near to it.
_OTHER_NAMES = {
    **dict.fromkeys(("url", "api_base", "api_url", "endpoint", "base"), "base_url"),
    **dict.fromkeys(("port", "bind", "address", "host"), "listen"),
    **dict.fromkeys(("timeout", "timeout_ms", "request_timeout", "timeout_seconds"), "head_timeout_ms"),
    **dict.fromkeys(("input_price", "input_cost", "input_cost_per_token", "prompt_price"), "input_usd_per_mtok"),
    **dict.fromkeys(
        ("output_price", "output_cost", "output_cost_per_token", "completion_price"), "output_usd_per_mtok"
    ),
    **dict.fromkeys(("model", "model_list"), "models"),
    **dict.fromkeys(("api", "apis", "api_type", "wire_api", "format", "endpoints"), "dialects"),
}
_RANGE_ERRORS = frozenset({"greater_than_equal", "less_than_equal"})


class Gravity(Enum):
    """How grave a fault is, and so for whom it matters."""

    FAULT = "fault"  # the configuration cannot be used
    BAD_SECRET = "bad secret"  # a secret is there, and no upstream would take it
    NO_SECRET = "no secret"  # a secret is not there: `serve` needs it, a check on another machine does not
    WARNING = "warning"  # the configuration can be used, and is probably not what was meant


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: the key's location (empty: none) and what to do about it."""

    loc: Loc
    message: str
    gravity: Gravity = Gravity.FAULT


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault or a warning as it is told. `key`: the path, "" without one; `owner`: "upstream alpha", "" for none."""

    key: str
    owner: str
    message: str

    def line(self) -> str:
        """One printable line."""
        line = f"{self.key}: {self.message}" if self.key else self.message
        return f"{line} [{self.owner}]" if self.owner else line


def key_path(loc: Loc) -> str:
    """`("upstreams", 0, "name")` as `upstreams[0].name`; a key that is not bare is quoted."""
    path = ""
    for key in loc:
        if isinstance(key, int):
            path += f"[{key}]"
        else:
            path += ("." if path else "") + (key if re.fullmatch(r"[\w-]+", key) else json.dumps(key))
    return path


def tables_at(tree: Mapping[str, Any], key: str) -> Iterator[tuple[Loc, dict[str, Any]]]:
    """The tables in the list `key` of a raw tree; entries that are no tables are left out."""
    entries = tree.get(key)
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, dict):
            yield (key, index), entry


def duplicates(loc: Loc, tree: Mapping[str, Any], key: str, name: str) -> Iterator[Fault]:
    """A fault for each entry of the list `key` whose field `name` repeats that of an earlier entry."""
    first: dict[str, Loc] = {}
    for entry_loc, entry in tables_at(tree, key):
        value = entry.get(name)
        if isinstance(value, str) and first.setdefault(value, entry_loc) != entry_loc:
            earlier = key_path((*loc, *first[value]))
            yield Fault((*loc, *entry_loc, name), f"is already used by {earlier}{_shown(value)}")


def toml_fault(message: str, text: str) -> str:
    """A message of tomllib, its place moved from the end to the beginning, behind the file's name."""
    what, _, place = message.rpartition(" (at ")
    if place == "end of document)":
        last = text.split("\n")
        place = f"line {len(last)}, column {len(last[-1]) + 1})"
    return f", {place.removesuffix(')')}: {what}"


def faults_in(error: ValidationError, root: Table) -> list[Fault]:
    """Pydantic's errors in the words of an operator, one for each key, although a union reports every branch."""
    faults: dict[Loc, Fault] = {}
    for detail in error.errors(include_url=False):
        # Two errors only follow from another fault and are left out: a list that is too short because a faulty entry
        # does not count, and a default that is not computed beside a faulty value.
        counted_out = detail["type"] == "too_short" and detail["input"]
        if not counted_out and detail["type"] != "default_factory_not_called":
            fault = _fault(detail, root)
            faults.setdefault(fault.loc, fault)
    return list(faults.values())


def findings(
    faults: Iterable[Fault], tree: Mapping[str, Any], origins: Mapping[Loc, str], root: Table
) -> list[Finding]:
    """The faults as they are told, in the order of the sections; `origins` names the variables behind keys."""
    sections = list(root.model_fields)

    def order(fault: Fault) -> tuple[int, int]:
        section, *rest = (*fault.loc, "")
        known = sections.index(str(section)) if section in sections else len(sections)
        return known, rest[0] if rest and isinstance(rest[0], int) else -1

    told = []
    for fault in sorted(faults, key=order):
        prefixes = (fault.loc[:end] for end in range(len(fault.loc), 0, -1))
        origin = next((origins[prefix] for prefix in prefixes if prefix in origins), None)
        message = f"{fault.message} [from ${origin}]" if origin else fault.message
        told.append(Finding(_printable(key_path(fault.loc)), _owner(fault.loc, tree), _printable(message)))
    return told


def _owner(loc: Loc, tree: Mapping[str, Any]) -> str:
    """The upstream or feed that a key belongs to, by its name, since people know it by its name and not its index."""
    section, index, *_ = (*loc, None, None)
    entries = tree.get(section) if section in ("upstreams", "feeds") else None
    if not isinstance(entries, list) or not isinstance(index, int) or index >= len(entries):
        return ""
    name = entries[index].get("name") if isinstance(entries[index], dict) else None
    return f"{str(section)[:-1]} {name}" if isinstance(name, str) and NAME.fullmatch(name) else ""


def _fault(detail: ErrorDetails, root: Table) -> Fault:
    loc, field, owner = _trace(root, detail["loc"])
    if detail["type"] == "extra_forbidden" or field is None:
        return Fault(loc, "unknown key" + _did_you_mean(str(loc[-1]), owner, root))
    if detail["type"] == "missing":
        return Fault(loc, "is required")
    if detail["type"] == "too_short":
        return Fault(loc, "needs at least one entry")
    words = words_of(field)
    shown = "" if words.hidden else _shown(detail["input"])
    if detail["type"] == "value_error":
        return Fault(loc, f"{detail['ctx']['error']}{shown}")
    in_range = detail["type"] in _RANGE_ERRORS and len(choices(field)) == 1
    allowed = value_range(field) if in_range else allowed_values(field, entry=isinstance(loc[-1], int))
    return Fault(loc, f"must be {allowed}{shown}")


def _trace(root: Table, loc: Loc) -> tuple[Loc, FieldInfo | None, Table]:
    """Follow `loc` through the models; the names of union branches behind a key are dropped."""
    owner, table, field = root, root, None
    path: list[str | int] = []
    at_leaf = False
    for key in loc:
        if isinstance(key, str):
            if at_leaf:
                if field is not None and is_mapping(field):
                    path.append(key)  # the entry of a table whose keys are free
                break
            owner, field = table, keys_of(table).get(key)
            inner = table_in(field) if field else None
            at_leaf, table = inner is None, inner or table
        path.append(key)
    return tuple(path), field, owner


def _did_you_mean(key: str, owner: Table, root: Table) -> str:
    other_name = _OTHER_NAMES.get(key.replace("-", "_").lower())
    close = [other_name] if other_name in keys_of(owner) else get_close_matches(key, keys_of(owner), 1)
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
