"""Pure: what the requests of all dialects have in common: the place of the model, limits, and words about faults.

In: the body of a request, or what pydantic says of it. Out: places, numbers, and `InvalidParameter` errors that name
the field at fault.
"""

import math
import re
from collections.abc import Collection
from typing import Any

import orjson
from pydantic import ValidationError

from gateway.dialects.request_body import RequestBody
from gateway.errors import InvalidParameter
from gateway.wire import json_text

MAX_FAULT_TEXT = 300  # characters of an error message; it may quote the request
MAX_COUNT = 1_000_000_000  # tokens or choices; a larger number means as much as none
MAX_DIGITS = 10  # of a number that was sent as text
_MODEL = re.compile(rb'"model"[ \t\n\r]*:[ \t\n\r]*("(?:[^"\\]++|\\.)*+")', re.DOTALL)
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")  # by which a name can be written in another way


def place_of_model(source: RequestBody, *, without: str | None = None) -> tuple[int, int] | None:
    """Where the value of the member `model` stands in a short body; None if a look at its bytes leaves a doubt.

    `without`: a member that the body must not hold, since the upstream gets another value of it.
    `"model":` can be nothing but the name of a member, since a quote in a string has a backslash before it. If it
    stands there once, and no name is written in escapes, it is the member of the body itself.
    """
    content = source.content
    if source.outline is not None or content.count(b'"model"') != 1 or b"\\u00" in content:
        return None
    if (without is not None and without in source.document) or "model" not in source.document:
        return None
    found = _MODEL.search(content)
    return None if found is None else found.span(1)


def largest_count(source: RequestBody, names: Collection[str]) -> int | None:
    """The largest of the numbers above 0 that these members have; None without one.

    Which of several limits an upstream keeps is not known, nor which member of those with one name it reads, so money
    for the longest answer is reserved.
    """
    values = [source.document.get(name) for name in names]
    content = source.content
    # An outline has all members; a search of a long body would take as long as its bytes.
    if (
        source.outline is not None
        or sum(content.count(b'"%b"' % name.encode()) for name in names) > 1
        or _ESCAPED_LETTER.search(content)
    ):
        values += [json_text.loads_numbers(content[at:end]) for name, _, at, end in source.members() if name in names]
    return max((count for value in values if (count := _count(value)) is not None), default=None)


def repeats_names(source: RequestBody) -> bool:
    """Whether an object of a short body may have a name twice: then more goes upstream than the value that was read.

    A member that was lost to another one of its name takes its quotes along, unless they were written as escapes.
    """
    try:
        quotes = orjson.dumps(source.document).count(b'"')
    except TypeError:
        return True  # half a surrogate pair, or a number beyond 64 bits
    return source.content.count(b'"') + source.content.count(b"\\u0022") != quotes


def _count(value: Any) -> int | None:
    """A limit as the gateway understands it, a whole number above 0; None: no limit, or one for the upstream."""
    if (type(value) is float and math.isfinite(value)) or _is_short_number(value):
        value = int(value)
    return min(value, MAX_COUNT) if type(value) is int and value > 0 else None


def _is_short_number(value: Any) -> bool:
    return type(value) is str and value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS


def invalid_field(error: ValidationError) -> InvalidParameter:
    """The first fault of a body that pydantic has refused."""
    fault = error.errors(include_url=False, include_input=False)[0]
    param = _path(fault["loc"])
    message = "is required" if fault["type"] == "missing" else fault["msg"].removeprefix("Value error, ")
    return InvalidParameter(f"{param}: {message}"[:MAX_FAULT_TEXT], param=param)


def _path(loc: tuple[int | str, ...]) -> str:
    """`messages[0].content` from ("messages", 0, "content"); names of union branches are left out."""
    path = ""
    for step in loc:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step.isidentifier() and step not in ("str", "float", "int", "dict", "list"):
            path += f".{step}" if path else step
    return path
