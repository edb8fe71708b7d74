"""Images and sounds in answers count as no text, however long they are and wherever they stand."""

import base64
import tomllib
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gateway.dialects.dialect import AnswerIdentity, Dialect
from gateway.dialects.long_event import LONG_BYTES
from gateway.dialects.registry import DIALECTS
from gateway.wire.media_text import WINDOW_BYTES, spoken_bytes
from tests.dialects.messages.events import START, TEXT

CASES: list[Mapping[str, Any]] = tomllib.loads((Path(__file__).parent / "media.toml").read_text())["case"]
IDENTITY = AnswerIdentity("req1", 1, "m")
FEW = 2 * WINDOW_BYTES // 4  # tokens: what stands before and behind an image may count as text
SIZES = [20_000, 400_000, 3_000_000]  # an event that is read at once, and longer ones
IMAGE = base64.b64encode(bytes(range(256)) * 9000).decode()

_Result = TypeVar("_Result")


def done(steps: Generator[None, None, _Result]) -> _Result:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _Result = end.value
            return result


def filled(text: str, size: int) -> bytes:
    words = {
        "WORDS": "words and more " * (size // 15),
        "NUMBERS": "\\u4f60\\u597d" * (size // 6),
    }  # of 15 and 6 bytes
    for name, put in {"IMAGE": IMAGE[:size], **words}.items():
        text = text.replace(name, put)
    return text.encode()


def tokens(dialect: Dialect, case: Mapping[str, Any], size: int) -> int:
    """The tokens of the answer, by the gateway's own count."""
    if "whole" in case:
        content = filled(case["whole"], size)
        is_long = len(content) > LONG_BYTES
        read = dialect.read_long_document if is_long else None
        document = dialect.read_document(content, IDENTITY) if read is None else done(read(content, IDENTITY))
        return document.usage(0).completion_tokens
    data = filled(case["event"], size)
    reader = dialect.reader(IDENTITY)
    name = b""
    if dialect.name == "messages":
        reader.read(START)
        reader.read(TEXT)
        name = b"event: content_block_delta\n" if b"block_delta" in data else b"event: content_block_start\n"
    block = name + b"data: " + data + b"\n\n"
    meaning = done(reader.read_in_steps(block)) if len(block) > LONG_BYTES else reader.read(block)
    assert not meaning.error
    return reader.usage(0).completion_tokens


@pytest.mark.parametrize("case", CASES, ids=[f"{case['dialect']}: {case['name']}" for case in CASES])
def test_media_are_no_text_and_words_are(case: Mapping[str, Any]) -> None:
    dialect = next(dialect for dialect in DIALECTS if dialect.name == case["dialect"])
    for size in SIZES:
        found = tokens(dialect, case, size)
        if case["counted"] == "nothing":
            assert found <= FEW
        else:
            assert 0.95 * size / 4 <= found <= 1.1 * size / 4 + 20


@pytest.mark.parametrize("before", ["", "x ", "see this: " * 500, "é" * 3000])
@pytest.mark.parametrize("size", [2 * WINDOW_BYTES, 100_000])
def test_an_image_is_found_from_its_first_byte_to_its_last(before: str, size: int) -> None:
    behind = " and that." * 700
    text = f"{before} data:image/png;base64,{IMAGE[:size]})"
    assert spoken_bytes(text + behind) == len((before + behind).encode()) + len(" data:image/png;base64,)")


def test_words_without_blanks_are_words() -> None:
    for text in ("sentence.without.blanks," * 1000, "日本語" * 4000, '{"a":1,"b":[2]}' * 1000):
        assert spoken_bytes(text) == len(text.encode())
