"""The size of an image is found within a bounded number of looks at its bytes."""

import base64
import struct
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.images import MAX_IMAGE_TOKENS, MAX_SEGMENTS, image_tokens
from tests.cases.cases import cases

START, FILL, RESTART, COMMENT = b"\xff\xd8", b"\xff", b"\xff\xd0", b"\xff\xfe\x00\x02"
FRAME = b"\xff\xc0\x00\x11\x08" + (64).to_bytes(2, "big") + (64).to_bytes(2, "big") + b"\x03"
SMALL = 255  # the tokens of one tile


def tokens(data: bytes) -> int:
    return image_tokens("data:image/jpeg;base64," + base64.b64encode(data).decode()).openai


@pytest.mark.parametrize("part", [FILL, RESTART, COMMENT], ids=["fill bytes", "markers", "segments"])
@pytest.mark.parametrize(
    ("count", "expected"), [(0, SMALL), (MAX_SEGMENTS - 1, SMALL), (MAX_SEGMENTS, MAX_IMAGE_TOKENS.openai)]
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


NAMES = {
    "openai": ["gpt-4o", "openai/gpt-4o-2024", "azure.gpt-4.1", "o3", "openai/o4-mini", "chatgpt-4o-latest", "GPT-5"],
    "anthropic": ["claude-sonnet-4-5", "anthropic/claude-3", "us.anthropic.claude-opus-4:0", "Claude"],
    "google": ["gemini-2.5-pro", "google/gemini-3", "models/gemini-flash"],
    "the dearest": ["m", "llama-4", "best", "qwen-vl", "coo3", "auto1", "mgpt"],
}


@pytest.mark.parametrize(("rule", "name"), [(rule, name) for rule, names in NAMES.items() for name in names])
def test_the_name_of_a_model_tells_whose_rule_holds(rule: str, name: str) -> None:
    found = image_tokens(png(2000, 1000))
    assert len(set(found)) == 3
    assert found.of([name]) == getattr(found, rule, max(found))


@given(st.integers(1, 1 << 31), st.integers(1, 1 << 31), st.sampled_from(["low", "high", None]))
def test_no_image_costs_more_than_the_ceiling_or_nothing(width: int, height: int, detail: str | None) -> None:
    for tokens, most in zip(image_tokens(png(width, height), detail), MAX_IMAGE_TOKENS, strict=True):
        assert 0 < tokens <= most


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_the_estimate_is_not_below_what_older_models_of_anthropic_bill(width: int, height: int) -> None:
    scale = min(1.0, 1568 / max(width, height))
    billed = min(int(width * scale * height * scale / 750), 1600)
    assert image_tokens(png(width, height)).anthropic >= billed
