"""Pure: the width and height of an image that is sent as a data URL, from the first bytes of its file.

In: a URL. Out: the size in pixels, or None: it is no data URL, or its bytes do not tell. Only a bounded number of
bytes is looked at.
"""

import base64
import binascii
import struct

HEAD_CHARACTERS = 65_536  # of base64: the size of a JPEG stands behind its metadata, which may hold a thumbnail
MAX_SEGMENTS = 500  # of a JPEG before its frame header, fill bytes included; a photograph has some dozens

_PNG = b"\x89PNG\r\n\x1a\n"


def size_of(url: str) -> tuple[int, int] | None:
    """Width and height of the image in a data URL; None if its bytes do not tell, or if it is elsewhere."""
    return _size(_head(url))


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
