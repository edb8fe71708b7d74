"""Pure: the images and sounds that stand in a text, in base64: their bytes do not tell how many tokens they are.

In: the bytes of a text, or of a JSON text. Out: how many of them are base64 of something long. The invariant: words,
and code, are never taken for it, since 4096 characters in a row without a blank are needed.
"""

from collections.abc import Generator

from gateway.wire.json_members import Buffer

WINDOW_BYTES = 4096  # so much of base64 in a row is an image or a sound
# The slash may be escaped, and lines may be short.
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_\\\r\n"
_WINDOWS_OF_STEP = 250  # 1 ms if all of them are base64


def is_media(data: Buffer, at: int) -> bool:
    """Whether the window that begins at `at`, which has to be whole, is base64: 4 us if it is, else 0.2 us."""
    end = at + WINDOW_BYTES
    return data.find(b" ", at, end) < 0 and not data[at:end].translate(None, _BASE64)


def media_bytes(data: Buffer, start: int, end: int) -> Generator[None, None, int]:
    """How many bytes between `start` and `end` belong to images and sounds, found out in steps of a millisecond."""
    found = 0
    is_inside = False  # the window before this one is base64
    for number, at in enumerate(range(start, end, WINDOW_BYTES)):
        if number % _WINDOWS_OF_STEP == _WINDOWS_OF_STEP - 1:
            yield
        if at + WINDOW_BYTES <= end and is_media(data, at):
            if not is_inside:
                before = data[max(start, at - WINDOW_BYTES) : at]
                found += len(before) - len(before.rstrip(_BASE64))
            found += WINDOW_BYTES
            is_inside = True
        elif is_inside:
            behind = data[at : min(at + WINDOW_BYTES, end)]
            found += len(behind) - len(behind.lstrip(_BASE64))
            is_inside = False
    return found


def spoken_bytes(text: str) -> int:
    """The size of a text without the images and sounds in it."""
    if len(text) < WINDOW_BYTES:
        return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    data = text.encode("utf-8", "surrogatepass")
    finding = media_bytes(data, 0, len(data))
    while True:
        try:
            next(finding)
        except StopIteration as end:
            found: int = end.value
            return len(data) - found
