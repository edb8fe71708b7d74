"""The estimate of a prompt: texts by their length, tools by their JSON, images by the rules of providers."""

import base64
import struct
from typing import Any

import orjson
import pytest

from gateway.dialects.images import MAX_IMAGE_TOKENS, image_tokens
from gateway.dialects.responses.dialect import RESPONSES
from gateway.dialects.responses.prompt import ITEM_TOKENS, LARGE_BYTES, REFERENCED_TOKENS
from gateway.dialects.responses.request import parse

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 1024, 1024)
IMAGE = "data:image/png;base64," + base64.b64encode(PNG + bytes(3000)).decode()


def tokens(*, in_steps: bool = False, **fields: Any) -> int:
    content = orjson.dumps({"model": "gpt-5", **fields})
    if not in_steps:
        return parse(content).estimate_prompt_tokens()
    reading = RESPONSES.begin_reading(content)
    while not reading.step():
        pass
    return RESPONSES.parse(reading.body()).estimate_prompt_tokens()


def message(*parts: Any) -> list[Any]:
    return [{"type": "message", "role": "user", "content": list(parts)}]


def test_texts_count_by_their_bytes() -> None:
    assert tokens(input="12345678") == 2 + ITEM_TOKENS
    assert tokens(input="12345678", instructions="1234") == 3 + ITEM_TOKENS
    assert tokens(input=message({"type": "input_text", "text": "12345678"})) == 2 + ITEM_TOKENS
    assert tokens(input=[{"role": "user", "content": "éééé"}]) == 2 + ITEM_TOKENS


def test_parameters_do_not_count_and_everything_else_does() -> None:
    usual: dict[str, Any] = {"stream": True, "store": False, "temperature": 0.5, "max_output_tokens": 9, "user": "k"}
    assert tokens(input="12345678", **usual) == tokens(input="12345678")
    tools = [{"type": "function", "name": "f", "parameters": {"type": "object"}}]
    assert tokens(input="x", tools=tools) > tokens(input="x") + len(orjson.dumps(tools)) // 4 - 2
    call = {"type": "function_call_output", "call_id": "c", "output": "y" * 400}
    assert tokens(input=[call]) > 100


@pytest.mark.parametrize("in_steps", [False, True])
def test_an_image_counts_by_the_rule_of_its_provider_and_not_by_its_bytes(in_steps: bool) -> None:
    without = tokens(input=message({"type": "input_image", "image_url": "data:,"}), in_steps=in_steps)
    found = tokens(input=message({"type": "input_image", "image_url": IMAGE}), in_steps=in_steps)
    expected = image_tokens(IMAGE).of(["gpt-5"])
    assert expected < found - without + 20 < expected + 40


@pytest.mark.parametrize("in_steps", [False, True])
@pytest.mark.parametrize("order", [("image_url", "detail"), ("detail", "image_url")])
def test_the_detail_of_an_image_counts(in_steps: bool, order: tuple[str, ...]) -> None:
    def of(detail: str) -> int:
        values = {"image_url": IMAGE, "detail": detail}
        part = {"type": "input_image", **{name: values[name] for name in order}}
        return tokens(input=message(part), model="gpt-4o", in_steps=in_steps)

    assert of("low") <= of("high") <= of("original")
    assert order[0] == "detail" or of("low") < of("high")


@pytest.mark.parametrize("in_steps", [False, True])
def test_what_is_elsewhere_counts_by_a_ceiling(in_steps: bool) -> None:
    plain = tokens(input=message(), in_steps=in_steps)
    image = tokens(input=message({"type": "input_image", "image_url": "https://x/y.png"}), in_steps=in_steps)
    assert image >= plain + MAX_IMAGE_TOKENS.of(["gpt-5"])
    file = tokens(input=message({"type": "input_file", "file_id": "file-1"}), in_steps=in_steps)
    assert file >= plain + REFERENCED_TOKENS


@pytest.mark.parametrize("name", ["role", "id", "status", "type"])
@pytest.mark.parametrize("value", ["x" * 40_000, ["x" * 40_000]], ids=["a text", "a list"])
def test_a_member_of_a_message_that_is_longer_than_it_should_be_counts(name: str, value: Any) -> None:
    assert tokens(input=[{"role": "user", "content": "Hello", name: value}]) >= 10_000
    assert tokens(input=[{"role": "user", "content": "Hello", name: "msg_1"}]) == 2 + ITEM_TOKENS


def test_a_text_that_speaks_of_images_is_a_text() -> None:
    text = '{"image_url": "https://x"} "data:image/png;base64,AAAA" ' * 4
    assert tokens(input=text) == -(-len(text) // 4) + ITEM_TOKENS


def test_a_large_body_counts_by_its_length() -> None:
    text = "x" * (LARGE_BYTES + 4)
    assert tokens(input=text) == -(-len(orjson.dumps({"model": "gpt-5", "input": text})) // 4)
    assert tokens(input=text, in_steps=True) == tokens(input=text)
    assert tokens(input=text, gateway={"models": None, "x": "y" * 400}) <= tokens(input=text) + 1
