"""Pure: inflates the body of an answer that came compressed although identity was asked for.

In: the bytes of the body, read by read. Out: what they hold, in pieces, as far as it can be told so far. The
invariant: one read never becomes more than `MAX_INFLATED_BYTES`, so that no upstream can make us fill our memory.
"""

import zlib
from collections.abc import Callable, Iterator

from gateway.errors import UpstreamError
from gateway.upstream.bodies import Steps

MAX_INFLATED_BYTES = 4 << 20  # bytes from one slice of a read (connection.py); JSON shrinks to a tenth
PIECE_BYTES = 16384  # a step of work is to read so much
# Other names that an error may repeat; the upstream's own word would stand in our log.
_REGISTERED = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz", "aes128gcm", "exi"})

_GZIP, _ZLIB, _RAW = 31, zlib.MAX_WBITS, -zlib.MAX_WBITS  # what zlib calls the three formats
_NAMES = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}  # RFC 9110 section 8.4.1


class AnswerInflater:
    """The inflating of one body: gzip of one or several members, or deflate with or without a zlib head."""

    def __init__(self, encoding: str) -> None:
        self._format = _NAMES[encoding]
        self._zlib = zlib.decompressobj(self._format)
        self._is_begun = False
        self._first = b""  # the first byte, if it came alone: only two bytes tell whether deflate has its head

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The pieces that the next bytes bring. Raises `UpstreamError` for bytes that cannot be inflated."""
        if not self._is_begun:
            data = self._first + data
            if len(data) < 2:
                self._first = data
                return
        size = 0
        while True:
            try:
                piece = self._inflate(data)
            except zlib.error:
                raise UpstreamError("the compressed answer cannot be inflated") from None
            size += len(piece)
            if size > MAX_INFLATED_BYTES:
                raise UpstreamError(f"the compressed answer grows by more than {MAX_INFLATED_BYTES} bytes at once")
            if piece:
                yield piece
            data = self._zlib.unconsumed_tail or self._next_member()
            if not data and len(piece) < PIECE_BYTES:  # a full piece may leave more inside of zlib
                return

    def _inflate(self, data: bytes) -> bytes:
        begun, self._is_begun = self._is_begun, True
        try:
            return self._zlib.decompress(data, PIECE_BYTES)
        except zlib.error:
            if begun or self._format != _ZLIB:
                raise
            self._zlib = zlib.decompressobj(_RAW)  # some servers send deflate without its head
            return self._zlib.decompress(data, PIECE_BYTES)

    def _next_member(self) -> bytes:
        """The bytes behind the end of a gzip member, if they begin another; nothing else belongs to the body."""
        rest = self._zlib.unused_data
        if not self._zlib.eof or self._format != _GZIP or not rest.startswith(b"\x1f\x8b"):
            return b""
        self._zlib = zlib.decompressobj(_GZIP)
        return rest


def inflating(
    encoding: str, take: Callable[[bytes], Steps], on_broken: Callable[[UpstreamError], None]
) -> Callable[[bytes], Steps]:
    """A handler of the bytes of a body with this `Content-Encoding`, which gives what they hold to `take`.

    `on_broken` hears once of bytes that cannot be inflated, and of an encoding that is not known.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return take
    if encoding not in _NAMES:
        named = encoding if encoding in _REGISTERED else "unknown"
        on_broken(UpstreamError(f"the answer is compressed ({named}), which was not asked for"))
        return _ignore
    inflater = AnswerInflater(encoding)
    is_broken = False

    def on_bytes(data: bytes) -> Iterator[None]:
        nonlocal is_broken
        if is_broken:
            return
        try:
            for piece in inflater.feed(data):
                if (steps := take(piece)) is not None:
                    yield from steps
                yield
        except UpstreamError as error:
            is_broken = True
            on_broken(error)

    return on_bytes


def _ignore(data: bytes) -> None:
    """Drop bytes of a body that nobody can read."""
