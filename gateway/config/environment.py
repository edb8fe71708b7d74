"""Pure: the variables of a configuration: `RIVERGATE_UPSTREAMS__0__NAME` becomes a value in the tree of the file."""

import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

from pydantic.fields import FieldInfo

from gateway.config.faults import Fault
from gateway.config.fields import Loc, Table, choices, is_list, leaves, table_in

ENVIRONMENT_PREFIX = "RIVERGATE_"
CONFIG_VARIABLE = "RIVERGATE_CONFIG"  # the file's path, not a key
_FOR_CLIENTS = frozenset({"RIVERGATE_API_KEY", "RIVERGATE_URL"})  # of commands that ask a running gateway
# Kubernetes sets these variables in every pod if a service is called rivergate. They are neither ours nor mistyped.
_KUBERNETES_NAME = re.compile(r"RIVERGATE(_[A-Z0-9]+)*_(SERVICE_(HOST|PORT)(_[A-Z0-9]+)*|PORT_\d+_[A-Z_]+)")
_KUBERNETES_LINK = re.compile(r"(tcp|udp|sctp)://\S+")


def overlay(root: Table, tree: dict[str, Any], environ: Mapping[str, str]) -> tuple[dict[Loc, str], list[Fault]]:
    """Put every RIVERGATE_* variable into `tree`; returns the variable behind each key, and the faults."""
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
    ours = variable.startswith(ENVIRONMENT_PREFIX) and variable not in {CONFIG_VARIABLE, *_FOR_CLIENTS}
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
        if field is not None and is_list(field) and not indexed:
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
        table = table_in(field)
    return (tuple(loc), field) if field is not None and table is None else None


def _takes_only_text(field: FieldInfo) -> bool:
    """Whether a field takes text only, so that a value such as `2024-11-20` is text and not a date."""
    return not is_list(field) and all(kind is str for kind, _ in choices(field))


def _unknown_variable(root: Table, variable: str) -> Fault:
    """The fault of a RIVERGATE_* variable that names no key."""
    names = [ENVIRONMENT_PREFIX + path.replace("[].", "__N__").replace(".", "__").upper() for path, _ in leaves(root)]
    close = get_close_matches(variable, names, 1, 0.88)
    return Fault((), f"${variable}: names no key" + (f"; did you mean {close[0]}?" if close else ""))
