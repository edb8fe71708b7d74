"""Pure: how many tokens an image in a prompt costs, by the rules that three providers document.

- OpenAI ("Images and vision"): 85 at low detail. Any other image is scaled down into a square of 2,048 pixels, and
  then until its shorter side has at most 768; it costs 85, and 170 for each tile of 512 pixels.
- Anthropic ("Vision"): width times height by 750, of an image that is scaled down until its longer side has at most
  2,576 pixels (1,568 for older models) and it costs at most 4,784. It knows no detail.
- Google ("Image understanding"): 258 up to 384 pixels a side. A larger image is cut into tiles whose side is its
  shorter side by 1.5, at least 256 and at most 768; each costs 258. Its sides are scaled down to 3,072 before.

The name of a model tells whose rule holds. Where it does not, the dearest one holds, so that the estimate is not
below the bill. The size stands in the first bytes of an image that is sent as a data URL; where it is not known, the
ceiling of the rule counts.
"""

import base64
import binascii
import re
import struct
from collections.abc import Collection
from typing import Any, NamedTuple

BASE_TOKENS, TILE_TOKENS = 85, 170
MAX_SIDE, MAX_SHORT_SIDE, TILE = 2048, 768, 512  # pixels
ANTHROPIC_SIDE, ANTHROPIC_PIXELS, ANTHROPIC_TOKENS = 2576, 750, 4784  # longest side, pixels a token, the most
GOOGLE_SIDE, GOOGLE_SMALL, GOOGLE_TOKENS = 3072, 384, 258  # longest side, side of a small image, tokens of a tile
GOOGLE_TILE_LEAST, GOOGLE_TILE_MOST = 256, 768  # pixels
HEAD_CHARACTERS = 65_536  # of base64: the size of a JPEG stands behind its metadata, which may hold a thumbnail

MANY_MODELS = 64  # above this number their names are not looked at
MAX_SEGMENTS = 500  # of a JPEG before its frame header, fill bytes included; a photograph has some dozens

_PNG = b"\x89PNG\r\n\x1a\n"


_OPENAI = re.compile(r"(?:^|[/:.@_-])(?:chatgpt|gpt|o[1-9])[.-]?\d*", re.IGNORECASE)


class ImageTokens(NamedTuple):
    """The tokens of images by each rule."""

    openai: int = 0
    anthropic: int = 0
    google: int = 0

    def plus(self, other: "ImageTokens", times: int = 1) -> "ImageTokens":
        """The sum with other images, each of which stands there so many times."""
        return ImageTokens(*(own + times * more for own, more in zip(self, other, strict=True)))

    def of(self, models: Collection[str]) -> int:
        """The most that these images cost if any of these models answers; by the dearest rule if they are many."""
        most = max(self)
        if not most or not 0 < len(models) <= MANY_MODELS:
            return most
        return max(map(self._of, models))

    def _of(self, model: str) -> int:
        name = model.lower()
        if "claude" in name:
            return self.anthropic
        if "gemini" in name:
            return self.google
        return self.openai if _OPENAI.search(name) else max(self)


_OPENAI_MOST = BASE_TOKENS + TILE_TOKENS * (MAX_SIDE // TILE) * -(-MAX_SHORT_SIDE // TILE)
# The most that an image costs: eight tiles of OpenAI's, and 24 of Google's, which are two rows of the smallest.
MAX_IMAGE_TOKENS = ImageTokens(_OPENAI_MOST, ANTHROPIC_TOKENS, GOOGLE_TOKENS * 2 * (GOOGLE_SIDE // GOOGLE_TILE_LEAST))


def image_tokens(url: str, detail: Any = None) -> ImageTokens:
    """The tokens of an image at `url`, which may be a data URL, at the `detail` that the request asks for."""
    size = _size(_head(url))
    found = MAX_IMAGE_TOKENS if size is None else ImageTokens(_openai(*size), _anthropic(*size), _google(*size))
    return found._replace(openai=BASE_TOKENS) if detail == "low" else found


def _openai(width: int, height: int) -> int:
    scale = min(1.0, MAX_SIDE / max(width, height))
    scale = min(scale, MAX_SHORT_SIDE / min(width, height))
    across, down = (-(-max(round(side * scale), 1) // TILE) for side in (width, height))
    return min(BASE_TOKENS + TILE_TOKENS * across * down, _OPENAI_MOST)


def _anthropic(width: int, height: int) -> int:
    scale = min(1.0, ANTHROPIC_SIDE / max(width, height))
    pixels = max(int(width * scale * height * scale), 1)
    return min(-(-pixels // ANTHROPIC_PIXELS), ANTHROPIC_TOKENS)


def _google(width: int, height: int) -> int:
    if max(width, height) <= GOOGLE_SMALL:
        return GOOGLE_TOKENS
    scale = min(1.0, GOOGLE_SIDE / max(width, height))
    width, height = (max(round(side * scale), 1) for side in (width, height))
    tile = min(max(min(width, height) * 2 // 3, GOOGLE_TILE_LEAST), GOOGLE_TILE_MOST)
    return GOOGLE_TOKENS * -(-width // tile) * -(-height // tile)


def _head(url: str) -> bytes:
    """The first bytes of the image in a data URL (RFC 2397); b"" for any other URL."""
    if url[:5].lower() != "data:":
        return b""
    start = url.find(",", 0, 256) + 1
    if not start or not url[:start].lower().endswith(";base64,"):
        return b""
    part = url[start : start + HEAD_CHARACTERS]
    try:
        return base64.b64decode(part[: len(part) // 4 * 4])
    except (ValueError, binascii.Error):
        return b""


def _size(head: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG, a GIF, a WebP or a JPEG in pixels; None if the bytes do not tell."""
    size: tuple[int, int] | None = None
    try:
        if head.startswith(_PNG):
            size = struct.unpack_from(">II", head, 16)
        elif head[:6] in (b"GIF87a", b"GIF89a"):
            size = struct.unpack_from("<HH", head, 6)
        elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            size = _webp_size(head)
        elif head[:2] == b"\xff\xd8":
            size = _jpeg_size(head)
    except (struct.error, IndexError):
        return None
    return size if size is not None and size[0] > 0 and size[1] > 0 else None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    """The size in the first chunk (RFC 9649 section 2)."""
    kind = head[12:16]
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    """The size in the frame header, behind any number of other segments (ITU-T T.81, B.2.2)."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        if at + 9 > len(head) or head[at] != 0xFF:
            break
        marker = head[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", head, at + 5)
            return width, height
        if marker == 0xFF:  # a fill byte
            at += 1
        elif 0xD0 <= marker <= 0xD8 or marker == 0x01:  # a marker without a segment
            at += 2
        else:
            at += 2 + struct.unpack_from(">H", head, at + 2)[0]
    return None
