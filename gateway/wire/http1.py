"""Pure: the HTTP/1.1 codec: writes request heads, response heads and chunks, and reads the fields of plain requests.

Source: RFC 9112 sections 3 (request line), 4 (status line), 5 (fields) and 7.1 (chunked transfer coding).
"""

import re
from collections.abc import Iterable

CRLF = b"\r\n"
LAST_CHUNK = b"0\r\n\r\n"

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_FIELD_LINES = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e]*\r\n)+")
_TARGET = re.compile(r"[\x21-\x7e]+")
_ABSOLUTE_TARGET = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")


def encode_request(method: str, target: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """A request head. Raises `ValueError` for anything that could end a line early (request splitting)."""
    return encode_request_line(method, target) + encode_fields(fields) + CRLF


def encode_request_line(method: str, target: str) -> bytes:
    """The first line of a request head. Raises `ValueError` as `encode_request` does."""
    if not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(target):
        raise ValueError("the request line holds a character that HTTP does not allow")
    return f"{method} {target} HTTP/1.1\r\n".encode("latin-1")


def authority_of(target: str) -> str | None:
    """The authority in a request target of absolute form, which counts in place of `Host` (RFC 9112 section 3.2.2).

    None for a target of any other form.
    """
    matched = None if target.startswith("/") else _ABSOLUTE_TARGET.match(target)
    return matched and matched[1]


def is_field(name: str, value: str) -> bool:
    """Whether HTTP allows this field (RFC 9110 section 5.5)."""
    return bool(_TOKEN.fullmatch(name) and _FIELD_VALUE.fullmatch(value))


def encode_fields(fields: Iterable[tuple[str, str]]) -> bytes:
    """Field lines. Raises `ValueError` as `encode_request` does."""
    fields = list(fields)
    if not fields:
        return b""
    # All is joined and checked at once, without a step of Python for each field: three fields take 40 bytecodes.
    lines = "\r\n".join(map(": ".join, fields)) + "\r\n"
    names = dict(fields)
    if not (
        "" not in names
        and _TOKEN.fullmatch("".join(names))
        and _FIELD_VALUE.fullmatch(lines.replace("\r\n", ""))
        and lines.count("\r\n") == len(fields)
    ):
        name = next(name for name, value in fields if not is_field(name, value))
        raise ValueError(f"the header {name!r} holds a character that HTTP does not allow")
    return lines.encode("latin-1")


def parse_fields(lines: bytes) -> list[tuple[str, str]]:
    """The fields of a request head, each line with its end; only ASCII, a part of what RFC 9112 section 5 allows.

    Raises `ValueError` for all other lines, and for no field at all.
    """
    if not _FIELD_LINES.fullmatch(lines):
        raise ValueError("not a plain head")
    split = [line.partition(":") for line in lines.decode("ascii").split("\r\n")[:-1]]
    return [(name, value.strip(" \t")) for name, _, value in split]


def encode_response(status: int, reason: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """The head of a response; its fields say how long the body is. Raises `ValueError` as `encode_request` does."""
    return f"HTTP/1.1 {status} {reason}\r\n".encode("latin-1") + encode_fields(fields) + CRLF


def encode_ok(fields: bytes, *, chunked: bool, keep_alive: bool) -> bytes:
    """The head of a 200 response with these field lines.

    A chunked body is HTTP/1.1; any other is HTTP/1.0, where the body ends with the connection.
    """
    line = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" if chunked else b"HTTP/1.0 200 OK\r\n"
    close = b"" if keep_alive or not chunked else b"Connection: close\r\n"
    return line + close + fields + CRLF


SIZE_LINES = [b"%x\r\n" % size for size in range(2048)]  # the size lines of chunks, up to the size of a token
NO_CHUNK = b"-"  # bytes that no chunk begins with


def _lines_by_chunk_size() -> list[bytes]:
    lines = [NO_CHUNK] * (len(SIZE_LINES) + len(SIZE_LINES[-1]) + len(CRLF))
    for size, line in enumerate(SIZE_LINES[1:], 1):
        lines[len(line) + size + len(CRLF)] = line
    return lines


# The size line of a chunk by the length of the whole chunk, framing included; `NO_CHUNK` where no chunk is that long.
CHUNK_LINES = _lines_by_chunk_size()


def around_chunk(size: int) -> tuple[bytes, bytes]:
    """The bytes before and behind the `size` bytes of one transfer chunk."""
    return b"%x\r\n" % size, CRLF


def encode_chunk(data: bytes) -> bytes:
    """One transfer chunk; no bytes for empty data, since an empty chunk would end the body."""
    size = len(data)
    if 0 < size < 2048:
        return SIZE_LINES[size] + data + b"\r\n"
    return b"%x\r\n%b\r\n" % (size, data) if data else b""
