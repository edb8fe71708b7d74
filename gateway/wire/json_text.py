"""Pure: the JSON codec, for JSON as providers really write it: orjson, or `json` where orjson is too strict.

Lone surrogates as escapes and integers over 64 bits are accepted, which orjson alone refuses. NaN and infinity, which
JavaScript cannot read, and bytes that are not UTF-8 are refused in both directions.
"""

import json
import math
from typing import Any, NoReturn

import orjson

MAX_DIGITS = 4000  # of a whole number; Python needs the square of the digits to read it, and refuses 4301


def loads(data: bytes | bytearray) -> Any:
    """The value of a JSON text. Raises `ValueError`."""
    try:
        return orjson.loads(data)
    except ValueError:
        pass
    try:
        return json.loads(data.decode(), parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def loads_numbers(data: bytes | bytearray) -> Any:
    """The value of a JSON text; a number beyond all types is infinite. Raises `ValueError`."""
    try:
        return orjson.loads(data)
    except ValueError:
        pass
    try:
        return json.loads(data.decode(), parse_constant=_refuse, parse_int=_whole)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def dumps(value: Any) -> bytes:
    """Compact JSON in UTF-8. Raises `ValueError` for nesting that no client could read."""
    try:
        return orjson.dumps(value)
    except TypeError:  # orjson refuses lone surrogates, integers over 64 bits and 255 levels of nesting
        pass
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _whole(text: str) -> float:
    return int(text) if len(text) <= MAX_DIGITS else math.inf


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)
