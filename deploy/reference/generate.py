"""Rewrites the tables of the reference pages that repeat the code.

    python deploy/reference/generate.py           rewrites the tables in the pages beside this file
    python deploy/reference/generate.py --check   changes nothing, prints what differs, exit 1 if something does

A table stands between `<!-- generated: NAME -->` and `<!-- end -->`. The code gives its rows and most of its columns.
Where the code has no words for a row, the last column is written by hand in the page: it is kept, found again by the
first cell of the row. A row without such words is a difference too.
"""

import difflib
import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import operation_tables as operation
import request_tables as requests
import settings_tables as settings
from gateway.dialects.choices.request import ChoicesFields
from gateway.dialects.extension import Gateway
from gateway.routing.options import RoutingOptions
from table import NO_WORDS, Table

PAGES = Path(__file__).parent
BLOCK = re.compile(r"(<!-- generated: ([a-z0-9 _.-]+) -->\n)(.*?)(<!-- end -->)", re.S)
TABLES: Mapping[str, Callable[[], Table]] = {
    **{
        f"configuration {name.replace('[]', '')}": partial(settings.configuration, name) for name in settings.SECTIONS
    },
    "commands": settings.commands,
    "options": settings.options,
    "errors": requests.error_table,
    "endings": requests.endings,
    "fields of a request": partial(requests.request_fields, ChoicesFields, leave_out="gateway."),
    "fields of gateway": partial(requests.request_fields, Gateway, "gateway."),
    "fields of routing": partial(requests.request_fields, RoutingOptions),
    "strategies": requests.strategies,
    "metrics": operation.metrics,
    "log lines": operation.log_lines,
    "fields of a completion": operation.completion_fields,
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
    sources = "".join(path.read_text() for path in operation.SOURCES.rglob("*.py"))
    told += [
        f"no code raises {code}"
        for codes in requests.MORE_CODES.values()
        for code in codes
        if f'"{code}"' not in sources
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
