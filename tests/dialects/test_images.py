"""The size of an image is found within a bounded number of looks at its bytes."""

import base64

import pytest

from gateway.dialects.images import MAX_IMAGE_TOKENS, MAX_SEGMENTS, image_tokens

START, FILL, RESTART, COMMENT = b"\xff\xd8", b"\xff", b"\xff\xd0", b"\xff\xfe\x00\x02"
FRAME = b"\xff\xc0\x00\x11\x08" + (64).to_bytes(2, "big") + (64).to_bytes(2, "big") + b"\x03"
SMALL = 255  # the tokens of one tile


def tokens(data: bytes) -> int:
    return image_tokens("data:image/jpeg;base64," + base64.b64encode(data).decode())


@pytest.mark.parametrize("part", [FILL, RESTART, COMMENT], ids=["fill bytes", "markers", "segments"])
@pytest.mark.parametrize(
    ("count", "expected"), [(0, SMALL), (MAX_SEGMENTS - 1, SMALL), (MAX_SEGMENTS, MAX_IMAGE_TOKENS)]
)
def test_a_jpeg_of_too_many_segments_costs_the_most(part: bytes, count: int, expected: int) -> None:
    assert tokens(START + part * count + FRAME) == expected
