"""The tokens of a prompt as they are estimated: each part by its own rule, in short bodies and in long ones."""

import base64
import struct
from typing import Any

import orjson
import pytest

from gateway.dialects.images import ANTHROPIC_TOKENS, image_tokens
from gateway.dialects.messages.dialect import MESSAGES
from gateway.dialects.messages.prompt import MESSAGE_TOKENS
from gateway.dialects.messages.sources import REFERENCED_TOKENS
from gateway.dialects.usage import text_tokens

PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + struct.pack(">II", 750, 100)
IMAGE_TOKENS = image_tokens("data:image/png;base64," + base64.b64encode(PNG).decode()).anthropic


def image(size: int = 300, *, kind: str = "image/png") -> dict[str, Any]:
    data = base64.b64encode(PNG + bytes(size)).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}


def tokens(*content: Any, **members: Any) -> int:
    """The tokens of a body with one message, beside those that the message itself takes."""
    return tokens_of(
        {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": list(content)}], **members}
    )


def tokens_of(body: dict[str, Any]) -> int:
    return MESSAGES.parse(orjson.dumps(body)).estimate_prompt_tokens() - MESSAGE_TOKENS


def json_tokens(value: Any) -> int:
    return text_tokens(len(orjson.dumps(value)))


def test_text_counts_by_its_bytes() -> None:
    assert tokens_of({"model": "m", "messages": [{"role": "user", "content": "a" * 40}], "stream": True}) == 10
    assert tokens({"type": "text", "text": "é" * 40}) == 20
    assert tokens(system="a" * 40) == 10
    assert tokens(system=[{"type": "text", "text": "a" * 40}]) == 10


def test_every_message_takes_four_more() -> None:
    messages = [{"role": "user", "content": "abcd"}, {"role": "assistant", "content": "efgh"}]
    assert tokens_of({"model": "m", "messages": messages}) == 2 + MESSAGE_TOKENS


TOOL = {"name": "f", "description": "d" * 50, "input_schema": {"type": "object"}}
USE = {"type": "tool_use", "id": "t", "name": "fetch", "input": {"url": "https://example.com/", "type": "image"}}
RESULT = {"type": "tool_result", "tool_use_id": "t", "content": "r" * 50}
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "t",
    "content": [{"type": "web_search_result", "url": "https://example.com/", "encrypted_content": "x" * 50}],
}


@pytest.mark.parametrize("block", [USE, RESULT, FOUND, {"type": "text", "text": "a", "cache_control": {"x": 1}}])
def test_tool_uses_and_results_count_by_their_json(block: dict[str, Any]) -> None:
    assert tokens(block) == json_tokens(block)


@pytest.mark.parametrize("role", ["x" * 40_000, ["x" * 40_000]], ids=["a text", "a list"])
def test_a_role_that_is_longer_than_it_should_be_counts(role: Any) -> None:
    body = {"model": "m", "messages": [{"role": role, "content": "Hello"}]}
    assert MESSAGES.parse(orjson.dumps(body)).estimate_prompt_tokens() >= 10_000


def test_tools_and_unknown_members_count_by_their_json() -> None:
    assert tokens(tools=[TOOL]) == text_tokens(len(orjson.dumps({"tools": [TOOL]})))
    assert tokens(x=[TOOL]) == text_tokens(len(orjson.dumps({"x": [TOOL]})))
    assert tokens(gateway={"metadata": {"x": "y" * 100}}) == 0


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg"])
def test_an_image_counts_by_the_rule_of_its_provider(kind: str) -> None:
    covered = len(image(kind=kind)["source"]["data"])
    around = text_tokens(len(orjson.dumps(image(kind=kind))) - covered)
    assert tokens(image(kind=kind)) == IMAGE_TOKENS + around
    nested = {"type": "tool_result", "tool_use_id": "t", "content": [image()]}
    assert tokens(nested) == IMAGE_TOKENS + text_tokens(len(orjson.dumps(nested)) - covered)


def test_an_image_that_is_elsewhere_counts_by_the_ceiling() -> None:
    for source in ({"type": "url", "url": "https://example.com/a.png"}, {"type": "file", "file_id": "f"}):
        block = {"type": "image", "source": source}
        assert tokens(block) == ANTHROPIC_TOKENS + json_tokens(block)


def test_a_document_counts_by_its_bytes_and_one_that_is_elsewhere_by_the_ceiling() -> None:
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "A" * 4000}}
    assert tokens(pdf) == json_tokens(pdf)
    text = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A" * 4000}}
    assert tokens(text) == json_tokens(text)
    for source in ({"type": "url", "url": "https://example.com/a.pdf"}, {"type": "file", "file_id": "f"}):
        block = {"type": "document", "source": source}
        assert tokens(block) == REFERENCED_TOKENS + json_tokens(block)


def test_images_inside_of_a_document_count_as_images() -> None:
    block = {"type": "document", "source": {"type": "content", "content": [image()]}}
    covered = len(image()["source"]["data"])
    assert tokens(block) == IMAGE_TOKENS + text_tokens(len(orjson.dumps(block)) - covered)


def test_a_name_that_stands_twice_counts_with_all_of_its_values() -> None:
    text = b"a" * 400
    content = b'{"model":"m","system":"%b","system":"b","messages":[{"role":"user","content":"c"}]}' % text
    assert MESSAGES.parse(content).estimate_prompt_tokens() >= 100


def in_steps(content: bytes) -> int:
    reading = MESSAGES.begin_reading(content)
    while not reading.step():
        pass
    return MESSAGES.parse(reading.body()).estimate_prompt_tokens()


@pytest.mark.parametrize(
    "order", [["type", "media_type", "data"], ["data", "media_type", "type"], ["data", "type", "media_type"]]
)
def test_images_and_references_of_a_long_body_are_seen_while_it_is_read(order: list[str]) -> None:
    picture = image(90_000)
    picture["source"] = {name: picture["source"][name] for name in order}
    url = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    pdf = {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}
    body = {"model": "m", "messages": [{"role": "user", "content": [picture, url, pdf, USE, FOUND]}]}
    content = orjson.dumps(body)
    rest = text_tokens(len(content) - len(picture["source"]["data"]))
    assert in_steps(content) == IMAGE_TOKENS + ANTHROPIC_TOKENS + REFERENCED_TOKENS + rest
    assert MESSAGES.parse(content).estimate_prompt_tokens() == in_steps(content)


def test_a_long_body_without_its_own_fields_counts_by_its_length() -> None:
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "A" * 100_000}]}
    content = orjson.dumps({**body, "gateway": {"metadata": {"x": "y" * 400}}})
    assert 0 <= in_steps(content) - text_tokens(len(orjson.dumps(body))) <= 1


def test_what_looks_like_an_image_in_a_text_is_text() -> None:
    text = orjson.dumps(image(90_000)).decode()
    content = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": text}]})
    assert in_steps(content) == text_tokens(len(content))
