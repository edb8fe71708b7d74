"""Everything that goes upstream is in the estimate that is reserved: the cases of prompts.toml."""

import base64
import struct
import time
import tomllib
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.access.accounts import Account, Quote
from gateway.dialects.chat import prompt
from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.chat.prompt import MAX_LOOKED_AT
from gateway.dialects.images import MAX_IMAGE_TOKENS
from gateway.errors import InsufficientQuota
from tests.access.books import new_key

CASES = tomllib.loads(Path(__file__).with_name("prompts.toml").read_text())["case"]
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 1024, 1024) + bytes(1_000_000)
JPEG = (
    b"\xff\xd8\xff\xe1"
    + struct.pack(">H", 2000)
    + bytes(1998)
    + b"\xff\xc0\x00\x11\x08"
    + struct.pack(">HH", 480, 640)
)
WORDS = {
    "HELLO": '{"role": "user", "content": "Hello"}',
    "PNG": "data:image/png;base64," + base64.b64encode(PNG).decode(),
    "JPEG": "data:image/jpeg;base64," + base64.b64encode(JPEG + bytes(100)).decode(),
}


def tokens(content: bytes) -> int:
    return CHAT.parse(content).estimate_prompt_tokens()


def content_of(case: dict[str, Any]) -> bytes:
    request: str = case["request"]
    for word, text in {**WORDS, "BIG": "x" * case.get("big_bytes", 0)}.items():
        request = request.replace(word, text)
    return orjson.dumps({"model": "m", **orjson.loads(request)})


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_prompt_counts_all_that_goes_upstream(case: dict[str, Any]) -> None:
    assert case["least"] <= tokens(content_of(case)) <= case["most"]


@pytest.mark.parametrize("case", [case for case in CASES if case["least"] > 9000], ids=lambda case: case["name"])
def test_a_key_that_cannot_pay_the_prompt_is_told_the_amounts(case: dict[str, Any]) -> None:
    owner = Account(new_key(balance_microusd=10_000), 0.0)
    cost = 10 * tokens(content_of(case))  # at ten dollars a million
    with pytest.raises(InsufficientQuota, match=rf"{cost / 1e6:.6f} USD, 0\.010000 USD are left"):
        owner.lease(Quote(cost, cost + 1))


def test_white_space_and_escapes_change_little() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "à la carte " * 500}], "tools": [{"a": [1, 2]}]}
    compact = tokens(orjson.dumps(body))
    assert tokens(orjson.dumps(body, option=orjson.OPT_INDENT_2)) == compact


def test_more_parts_than_can_be_looked_at_count_as_large_images_where_they_may_be_some() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    parts = [{"type": "text", "text": "x"}] * MAX_LOOKED_AT + [part] * 100
    message = {"role": "user", "content": parts}
    content = orjson.dumps({"model": "m", "messages": [message]})
    assert tokens(content) >= 100 * MAX_IMAGE_TOKENS
    assert tokens(content.replace(b"image_url", b"im\\u0061ge_url")) >= 100 * MAX_IMAGE_TOKENS


def test_the_estimate_of_a_body_of_many_parts_takes_milliseconds() -> None:
    body = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "h"}}] * 200_000}]}
    content = orjson.dumps(body)
    began = time.thread_time()
    assert prompt.estimate(body, content, {}) > 0
    assert time.thread_time() - began < 0.1  # every part would take half a second
