"""Pure: the decoder of content codings (RFC 9110 section 8.4.1): gzip and deflate, a bounded piece at a time.

In: the bytes of a body as they come. Out: pieces of its content. The invariant: no piece is longer than
`PIECE_BYTES`, however few the bytes are that it is made of.
"""

import zlib
from collections.abc import Iterator

PIECE_BYTES = 65536  # 0.3 ms of inflating
MAX_MEMBERS = 64  # of one gzip body (RFC 1952 section 2.2); more are an attack
CODINGS = ("gzip", "deflate", "identity")
_GZIP, _ZLIB, _RAW = 31, 15, -15  # windowBits of zlib
_HEADER_BYTES = 2  # of a zlib header


class BrokenContent(ValueError):
    """A body is not coded as it says."""


class Inflater:
    """Decodes one body. `feed` and `end` raise `BrokenContent`."""

    def __init__(self, coding: str) -> None:
        """`coding`: `gzip` or `deflate`."""
        self._is_gzip = coding == "gzip"
        self._members = 1
        self._decoder = zlib.decompressobj(_GZIP if self._is_gzip else _ZLIB)
        self._begin: bytes | None = None if self._is_gzip else b""  # the first bytes, until they tell the format

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The pieces of content that these bytes bring."""
        if self._begin is not None:
            data = self._begin = self._begin + data
            if len(data) < _HEADER_BYTES:
                return
            self._begin = None
            if data[0] & 15 != zlib.DEFLATED or (data[0] << 8 | data[1]) % 31:  # RFC 1950 section 2.2
                self._decoder = zlib.decompressobj(_RAW)  # many clients send `deflate` without its zlib header
        while data or not self._decoder.eof:
            if self._decoder.eof:
                self._begin_member()
            piece = self._decompress(data)
            data = self._decoder.unused_data if self._decoder.eof else self._decoder.unconsumed_tail
            if piece:
                yield piece
            if not data and len(piece) < PIECE_BYTES:
                return

    def end(self) -> None:
        """Check that the body is complete."""
        if not self._decoder.eof:
            raise BrokenContent("it ends too early")

    def _begin_member(self) -> None:
        self._members += 1
        if not self._is_gzip or self._members > MAX_MEMBERS:
            raise BrokenContent("something follows its end")
        self._decoder = zlib.decompressobj(_GZIP)

    def _decompress(self, data: bytes) -> bytes:
        try:
            return self._decoder.decompress(data, PIECE_BYTES)
        except zlib.error as error:
            raise BrokenContent(str(error)[:100]) from None


def inflater_for(field: str | None) -> Inflater | None:
    """The decoder for a `Content-Encoding`; None: there is nothing to decode. Raises `LookupError`."""
    coding = (field or "identity").strip().lower().removeprefix("x-")
    if coding not in CODINGS:
        raise LookupError(coding)
    return None if coding == "identity" else Inflater(coding)
