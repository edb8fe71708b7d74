"""Pure: the JSON codec, for JSON as providers really write it: orjson, or `json` where orjson is too strict.

Lone surrogates as escapes and integers over 64 bits are accepted, which orjson alone refuses. NaN and infinity, which
JavaScript cannot read, and bytes that are not UTF-8 are refused in both directions, except by `loads_with_nulls`.
"""

import json
import math
import re
from typing import Any, NoReturn

import orjson

# A JSON string, which is kept as it is, or a word by which C, C++ and Python write what JSON has no number for.
_STRING_OR_NO_NUMBER = re.compile(
    rb'"(?:[^"\\]++|\\.)*+"|[-+]?\b(?:nan(?:\([a-z]*\))?|inf(?:inity)?)(?![\w(])', re.IGNORECASE
)
_MAY_BE_NO_NUMBER = re.compile(rb"[nN][aA][nN]|[iI][nN][fF]")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"')
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
# A number that `float` or `int` may refuse, or read slowly or as infinite. Without one, no number needs a call of
# Python for itself, which takes 0.3 us: a body of numbers alone would take 20 ms.
_ODD_NUMBER = re.compile(rb"[0-9][eE]|[0-9]{300}")
_MARKS = ((b",", 1), (b"{", 5), (b"[", 5))  # the weight of each mark that begins a value
# Up to this size a text whose strings hold many commas is counted exactly; the scan takes 16 ms at most.
_COUNTED_EXACTLY = 1 << 20
_MAX_REPAIRED_BYTES = 8 << 20  # a larger text that orjson refuses would be read four times more, often in vain
_LINE_ENDS = ((b"\xc2\x85", b"\\u0085"), (b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))
# Digits of a whole number in an answer; more are beyond all types of other languages, and 4000 take Python 0.3 ms.
MAX_ANSWER_DIGITS = 400
MAX_DIGITS = 4000  # of a whole number; Python needs the square of the digits to read it, and refuses 4301


def loads(data: bytes | bytearray) -> Any:
    """The value of a JSON text. Raises `ValueError`."""
    try:
        return orjson.loads(data)
    except ValueError:
        if len(data) > _MAX_REPAIRED_BYTES:
            raise
    try:
        if _ODD_NUMBER.search(data) is None:
            return json.loads(data.decode(), parse_constant=_refuse)
        return json.loads(data.decode(), parse_constant=_refuse, parse_float=_finite, parse_int=_short)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def loads_numbers(data: bytes | bytearray, *, keep_digits: bool = False) -> Any:
    """The value of a JSON text; a number beyond all types is infinite. Raises `ValueError`.

    `keep_digits`: whole numbers beyond 64 bits, which orjson rounds, have all of their digits.
    """
    if not (keep_digits and _LONG_NUMBER.search(data)):
        try:
            return orjson.loads(data)
        except ValueError:
            pass
    try:
        is_odd = _ODD_NUMBER.search(data) is not None
        return json.loads(data.decode(), parse_constant=_refuse, parse_int=_whole if is_odd else None)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def loads_with_nulls(data: bytes | bytearray, max_bytes: int = _MAX_REPAIRED_BYTES) -> Any:
    """The value of a JSON text in which NaN, infinity and `1e999` stand for null. Raises `ValueError`."""
    if len(data) > max_bytes:
        raise ValueError("it is too large to be repaired")
    is_odd = _ODD_NUMBER.search(data) is not None
    if not is_odd and _MAY_BE_NO_NUMBER.search(data) is None:
        raise ValueError("it is not JSON, and holds nothing that could be null")
    parse_float, parse_int = (_finite_or_null, _short) if is_odd else (None, None)
    for text in (bytes(data), with_nulls(data)):
        try:
            return json.loads(text.decode(), parse_constant=_null, parse_float=parse_float, parse_int=parse_int)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        except json.JSONDecodeError:
            pass
    raise ValueError("it is not JSON")


def with_nulls(text: bytes | bytearray) -> bytes:
    """A part of a JSON text, cut between two values or names, with null in place of NaN and infinity."""
    return _STRING_OR_NO_NUMBER.sub(_null_for_no_number, text)


def holds_more_than(data: bytes | bytearray, values: int) -> bool:
    """Whether a JSON text holds more members and elements than `values`; an object or an array counts as five more.

    Nothing is parsed. What is parsed takes up to 0.2 us and 200 bytes for each value, but only two bytes of the text.
    """
    if len(data) < values // 5:
        return False
    weight, step = 0, _COUNTED_EXACTLY
    for start in range(0, len(data), step):
        weight += _weight(data, start, start + step)
        if weight > values:
            return len(data) > step or _weight(_STRING.sub(b"", data)) > values
    return False


def _weight(data: bytes | bytearray, *between: int) -> int:
    weight = 0
    for mark, weight_of_mark in _MARKS:
        if data.find(mark, *between) >= 0:  # this takes a tenth of the time of `count` in a megabyte without the mark
            weight += weight_of_mark * data.count(mark, *between)
    return weight


def escape_line_ends(text: bytes) -> bytes:
    """The JSON text with U+0085, U+2028 and U+2029 as escapes; unescaped, they end a line in some clients."""
    if text.isascii():
        return text
    for raw, escaped in _LINE_ENDS:
        text = text.replace(raw, escaped)
    return text


def dumps_line(value: Any) -> bytes:
    """Compact JSON that no client takes for more than one line. Raises `ValueError` as `dumps` does."""
    return escape_line_ends(dumps(value))


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


def dumps_to_keep(value: Any) -> bytes:
    """Compact JSON as `dumps` makes it, in no more memory than it takes.

    The results of orjson keep the buffer in which they were written: 8 KiB for a text of 600 bytes (orjson 3.13).
    """
    return bytes(memoryview(dumps(value)))


def _whole(text: str) -> float:
    return int(text) if len(text) <= MAX_DIGITS else math.inf


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _null(constant: str) -> None:
    return None


def _short(text: str) -> int:
    return int(text) if len(text) <= MAX_ANSWER_DIGITS else _refuse("a number of so many digits")


def _finite_or_null(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _null_for_no_number(found: re.Match[bytes]) -> bytes:
    return found[0] if found[0].startswith(b'"') else b"null"
