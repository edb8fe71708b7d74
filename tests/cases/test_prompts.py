"""Everything that goes upstream is in the estimate that is reserved: the cases of prompts.toml."""

import base64
import struct
import tomllib
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.access.accounts import Account, Quote
from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.chat.media_count import MAX_MEASURED
from gateway.dialects.images import MAX_IMAGE_TOKENS as MOST
from gateway.dialects.request_body import is_read_at_once
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
MAX_IMAGE_TOKENS = MOST.of(["gpt-4o"])  # the prompts are for a model of OpenAI
WORDS = {
    "HELLO": '{"role": "user", "content": "Hello"}',
    "PNG": "data:image/png;base64," + base64.b64encode(PNG).decode(),
    "JPEG": "data:image/jpeg;base64," + base64.b64encode(JPEG + bytes(100)).decode(),
}


def tokens(content: bytes, *, in_steps: bool | None = None) -> int:
    """The estimate of a body, which is read at once or in steps as it is by a server, unless a test says so."""
    if in_steps is None:
        in_steps = not is_read_at_once(content)
    if not in_steps:
        return CHAT.parse(content).estimate_prompt_tokens()
    reading = CHAT.begin_reading(content)
    while not reading.step():
        pass
    return CHAT.parse(reading.body()).estimate_prompt_tokens()


def content_of(case: dict[str, Any]) -> bytes:
    request: str = case["request"]
    for word, text in {**WORDS, "BIG": "x" * case.get("big_bytes", 0)}.items():
        request = request.replace(word, text)
    return orjson.dumps({"model": "gpt-4o", **orjson.loads(request)})


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
    body = {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "à la carte " * 500}],
        "tools": [{"a": [1, 2]}],
    }
    compact = tokens(orjson.dumps(body))
    assert tokens(orjson.dumps(body, option=orjson.OPT_INDENT_2)) == compact


EXPENSIVE = [case for case in CASES if case["least"] > 400 and not case.get("at_once")]


@pytest.mark.parametrize("case", EXPENSIVE, ids=[case["name"] for case in EXPENSIVE])
def test_a_prompt_that_is_read_in_steps_costs_as_much(case: dict[str, Any]) -> None:
    """Its members and brackets count by their bytes, too, and an image whose size is not looked for by the most."""
    in_steps = tokens(content_of(case), in_steps=True)
    assert case["least"] <= in_steps <= case["most"] + 100


def test_what_is_among_many_short_messages_costs_as_much() -> None:
    small = [{"role": "user", "content": "x" * 50}] * 2000
    image = {"type": "image_url", "image_url": {"url": WORDS["PNG"]}}
    messages = [*small, {"role": "user", "content": [image]}, *small]
    content = orjson.dumps({"model": "gpt-4o", "messages": messages})
    text = (len(content) - len(WORDS["PNG"])) / 4
    assert 765 + text <= tokens(content) <= 765 + text + 10


IMAGE_ELSEWHERE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


@pytest.mark.parametrize("letters", [(b"", b""), (b"image_url", b"im\\u0061ge_url")], ids=["plain", "escaped"])
def test_every_image_elsewhere_counts_in_a_long_body(letters: tuple[bytes, bytes]) -> None:
    parts = [{"type": "text", "text": "x"}] * 9000 + [IMAGE_ELSEWHERE] * 100
    content = orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": parts}]})
    content = content.replace(*letters) if letters[0] else content
    least = 100 * MAX_IMAGE_TOKENS + len(content) // 4
    assert least <= tokens(content) <= least + 1


def test_more_images_than_are_measured_count_by_the_ceiling() -> None:
    image = {"type": "image_url", "image_url": {"url": WORDS["JPEG"]}}
    content = orjson.dumps(
        {"model": "gpt-4o", "messages": [{"role": "user", "content": [image] * (MAX_MEASURED + 10)}]}
    )
    images = MAX_MEASURED * 425 + 10 * MAX_IMAGE_TOKENS
    assert images <= tokens(content, in_steps=True) <= images + 40 * (MAX_MEASURED + 10)


@pytest.mark.parametrize(
    "part",
    [
        '{"type":"image_url","image_url":{"url":"PNG","detail":"low"}}',
        '{"type":"image_url", "image_url": {"detail" : "low" , "url" : "PNG"}}',
    ],
)
def test_the_detail_of_an_image_stands_before_or_behind_it(part: str) -> None:
    content = f'{{"model":"gpt-4o","messages":[{{"role":"user","content":[{part}]}}]}}'.replace("PNG", WORDS["PNG"])
    assert 85 <= tokens(content.encode()) <= 150


@pytest.mark.parametrize(
    "messages",
    [
        '"messages":[{"role":"user","content":"BIG"}],"messages":[HELLO]',
        '"messages":[{"role":"user","content":"BIG","content":"Hello"}]',
        '"tools":["BIG"],"tools":[],"messages":[HELLO]',
        r'"messages":[{"role":"user","content":"\u0022BIG"}],"m\u0065ssages":[HELLO]',
    ],
)
def test_a_member_that_stands_twice_counts_twice(messages: str) -> None:
    """A gateway does not know which of them the upstream reads, and sends both."""
    content = f'{{"model":"gpt-4o",{messages}}}'.replace("HELLO", WORDS["HELLO"]).replace("BIG", "x" * 40_000)
    assert 10_000 <= tokens(content.encode()) <= 10_100


def test_own_members_are_taken_off_by_the_bytes_that_they_have() -> None:
    """The value of `1e15`, written anew, has 18 bytes."""
    numbers, text = ",".join(["1e15"] * 9000), "x" * 150_000
    message = f'"messages":[{{"role":"user","content":"{text}"}}]'
    for own in (f'"gateway":{{"metadata":{{"a":[{numbers}]}}}}', f'"routing":{{"a":[{numbers}]}},"routing":{{}}'):
        assert len(text) // 4 <= tokens(f'{{"model":"gpt-4o",{own},{message}}}'.encode()) <= len(text) // 4 + 100


@pytest.mark.parametrize("size", [0, 100_000])
def test_images_in_a_member_that_stands_twice_count_twice(size: int) -> None:
    images = orjson.dumps([{"role": "user", "content": [IMAGE_ELSEWHERE] * 10}])
    messages = orjson.dumps([{"role": "user", "content": "x" * size}])
    for first, second in ((images, messages), (messages, images)):
        content = b'{"model":"gpt-4o","messages":%b,"messages":%b}' % (first, second)
        assert 0 <= tokens(content) - 10 * MAX_IMAGE_TOKENS - len(content) // 4 <= 1
        assert 0 <= tokens(content, in_steps=True) - 10 * MAX_IMAGE_TOKENS - len(content) // 4 <= 1


DECOYS = [
    '{"type":"text","text":"","x":{"url":"TINY"}}',
    '{"type":"text","text":"","x":{"detail":"low","url":"TINY"}}',
    '{"type":"image","source":{"type":"url","url":"https://example.com/a.png"}}',
    '{"image_url":{"url":"https://example.com/a.png"}}',
]


@pytest.mark.parametrize("decoy", DECOYS)
def test_what_looks_like_an_image_takes_nothing_off_the_count_of_others(decoy: str) -> None:
    tiny = f"data:image/gif;base64,{base64.b64encode(b'GIF89a' + struct.pack('<HH', 1, 1) + bytes(60)).decode()}"
    image = orjson.dumps(IMAGE_ELSEWHERE).decode()
    content = f'{{"model":"gpt-4o","messages":[{{"role":"user","content":[{",".join([decoy, image] * 20)}]}}]}}'
    body = content.replace("TINY", tiny).encode()
    for in_steps in (False, True):
        assert tokens(body, in_steps=in_steps) >= 20 * MAX_IMAGE_TOKENS + len(content) // 4 - 600


@pytest.mark.parametrize(
    "image",
    [
        '{"url":"PNG","detail":"low","detail":"high"}',
        '{"detail":"low","url":"PNG","detail":"high"}',
        '{"detail":"low","url":"https://example.com/a.png"},"x":{"url":"PNG"}',
    ],
)
def test_an_image_in_steps_is_of_low_detail_only_beyond_doubt(image: str) -> None:
    part = f'{{"type":"image_url","image_url":{image}}}'
    content = f'{{"model":"gpt-4o","messages":[{{"role":"user","content":[{part}]}}]}}'
    assert tokens(content.replace("PNG", WORDS["PNG"]).encode(), in_steps=True) >= 765


def test_quotes_and_escapes_in_a_text_do_not_look_like_members() -> None:
    plain = {"model": "gpt-4o", "messages": [{"role": "user", "content": 'say "hi" \\ \\"' * 100}]}
    content = orjson.dumps(plain)
    escaped = content.replace(b'\\"', b"\\u0022")
    assert tokens(escaped) == tokens(content) == 4 + -(-len(plain["messages"][0]["content"]) // 4)  # type: ignore[index]
