"""Responses as bytes, named by the way in which their body ends."""

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Head: a\r\n\r\n"
    b'5;name=value;q="a b"\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nX-Trailer: t\r\n\r\n'
)
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nX-Head: a\r\n\r\nhello world"
CLOSE = b"HTTP/1.1 200 OK\r\nX-Head: a\r\n\r\nhello world"
EMPTY = b"HTTP/1.1 204 No Content\r\nX-Head: a\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\nX-Head: no\r\n\r\n"
FRAMED = {
    "chunked": CHUNKED,
    "length": LENGTH,
    "204": EMPTY,
    "interim": INTERIM + CHUNKED,
    "empty": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Head: a\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\nX-Head: a\r\n\r\n",
}


def body_of(name: str) -> bytes:
    return b"hello world" if name in ("chunked", "length", "interim", "close") else b""
