"""The size of an image is found within a bounded number of looks at its bytes."""

import base64
import struct
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.image_size import MAX_SEGMENTS
from gateway.dialects.images import MAX_IMAGE_TOKENS, NO_BUDGET, image_tokens
from tests.cases.cases import cases

START, FILL, RESTART, COMMENT = b"\xff\xd8", b"\xff", b"\xff\xd0", b"\xff\xfe\x00\x02"
FRAME = b"\xff\xc0\x00\x11\x08" + (64).to_bytes(2, "big") + (64).to_bytes(2, "big") + b"\x03"
SMALL = 255  # the tokens of one tile


def tokens(data: bytes) -> int:
    return image_tokens("data:image/jpeg;base64," + base64.b64encode(data).decode()).of(["gpt-4o"])


@pytest.mark.parametrize("part", [FILL, RESTART, COMMENT], ids=["fill bytes", "markers", "segments"])
@pytest.mark.parametrize(
    ("count", "expected"), [(0, SMALL), (MAX_SEGMENTS - 1, SMALL), (MAX_SEGMENTS, MAX_IMAGE_TOKENS.of(["gpt-4o"]))]
)
def test_a_jpeg_of_too_many_segments_costs_the_most(part: bytes, count: int, expected: int) -> None:
    assert tokens(START + part * count + FRAME) == expected


def png(width: int, height: int) -> str:
    data = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", width, height)
    return "data:image/png;base64," + base64.b64encode(data + bytes(9)).decode()


def estimate(image: dict[str, Any], **members: Any) -> int:
    """The tokens of a prompt with this image, less those of the prompt with a small text in its place."""
    part = {"type": "image_url", "image_url": image}
    content = {"messages": [{"role": "user", "content": [part]}], **members}
    return CHAT.parse(orjson.dumps(content)).estimate_prompt_tokens()


@pytest.mark.parametrize("case", cases("images.toml"))
def test_an_image_costs_what_the_provider_of_its_model_documents(case: dict[str, Any]) -> None:
    image = {"url": png(*case["size"]) if "size" in case else "https://example.com/a.png"}
    image |= {"detail": case["detail"]} if "detail" in case else {}
    for model, tokens in case["tokens"].items():
        assert tokens <= estimate(image, model=model) <= tokens + 30
    models, most = list(case["tokens"]), max(case["tokens"].values())
    assert most <= estimate(image, gateway={"models": models}) <= most + 30


UNKNOWN = ["m", "llama-4", "best", "qwen-vl", "coo3", "auto1", "mgpt"]  # the dearest rule, Anthropic's here
NAMES = {
    1105: ["gpt-4o", "openai/gpt-4o-2024", "azure.gpt-4.1", "o3", "chatgpt-4o-latest"],
    910: ["GPT-5", "gpt-5-chat-latest", "openai/gpt-5-pro"],
    2667: [*UNKNOWN, "claude-sonnet-4-5", "anthropic/claude-3", "us.anthropic.claude-opus-4:0", "Claude"],
    2064: ["gemini-2.5-pro", "models/gemini-flash", "gemini-1.5-pro"],
    1120: ["google/gemini-3", "gemini-3.1-flash-lite", "Gemini-10"],
    2420: ["gpt-6", "openai.gpt-5.6", "gpt-5.10"],
}


@pytest.mark.parametrize(("tokens", "name"), [(tokens, name) for tokens, names in NAMES.items() for name in names])
def test_the_name_of_a_model_tells_whose_rule_holds(tokens: int, name: str) -> None:
    assert image_tokens(png(2000, 1000)).of([name]) == tokens


@given(st.integers(1, 1 << 31), st.integers(1, 1 << 31), st.sampled_from(["low", "high", "original", None]))
def test_no_image_costs_more_than_the_ceiling_or_nothing(width: int, height: int, detail: str | None) -> None:
    most = MAX_IMAGE_TOKENS._replace(patches=NO_BUDGET)  # these models take an image in its own size
    for name, tokens in image_tokens(png(width, height), detail)._asdict().items():
        assert tokens <= getattr(most, name), name
        assert tokens > 0 or (name == "tiles" and detail == "low")


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_the_estimate_is_not_below_what_older_models_of_anthropic_bill(width: int, height: int) -> None:
    scale = min(1.0, 1568 / max(width, height))
    billed = min(int(width * scale * height * scale / 750), 1600)
    assert image_tokens(png(width, height)).anthropic >= billed
