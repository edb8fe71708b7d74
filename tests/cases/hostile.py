"""The hostile requests of `hostile_requests.toml` as bytes."""

import gzip
import tomllib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CASES: list[Mapping[str, Any]] = tomllib.loads((Path(__file__).parent / "hostile_requests.toml").read_text())["case"]


@dataclass(frozen=True, slots=True)
class HostileRequest:
    """One request, and the status that it has to get."""

    name: str
    status: int
    content: bytes = field(repr=False)
    headers: Mapping[str, str]


def built(case: Mapping[str, Any]) -> HostileRequest:
    """The request of a case."""
    headers = dict(case.get("headers", {}))
    if "bomb" in case:
        content = _bomb(case["bomb"])
        headers["Content_Encoding"] = "gzip"
    else:
        content = b"".join(_repeated(text, times) for text, times in case["parts"])
    if case.get("coding") == "gzip":
        content = gzip.compress(content, 1) * case.get("times", 1)
        headers["Content_Encoding"] = "gzip"
    return HostileRequest(case["name"], case["status"], content, headers)


def _repeated(text: str, times: int) -> bytes:
    """The text so many times; one with a place for a number has another number each time."""
    if "%" in text:
        return "".join([text % number for number in range(times)]).encode()
    return text.encode() * times


def _bomb(size: int) -> bytes:
    """So many blanks, compressed: one compressed block, again and again; its checksum is never reached."""
    compressor, blanks = zlib.compressobj(9, zlib.DEFLATED, 31), b" " * 10_000_000
    begin = compressor.compress(b"") + compressor.flush(zlib.Z_FULL_FLUSH)
    block = compressor.compress(blanks) + compressor.flush(zlib.Z_FULL_FLUSH)
    return begin + block * (size // len(blanks))
