"""Pure: the finder of boundaries between requests, in bytes that aiohttp's parser reads.

In: the bytes that aiohttp is given. Out: the same bytes in pieces, and whether they end exactly at the end of a
request. aiohttp's own parser does not tell, so a second parser reads along (httptools, which is built on llhttp, as
aiohttp's is).
"""

import httptools

HEAD_END = b"\r\n\r\n"  # ends a chunked body, too
MAX_PIECES = 64  # of one read: aiohttp takes 32 requests, and what comes behind them later


class _MessageCounter:
    """Counts the requests that have begun, and the requests that have ended; knows how long the newest body is."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.length = 0  # of the newest body, in bytes; 0 also where only its chunks tell

    def on_message_begin(self) -> None:
        self.begun += 1
        self.length = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-length" and value.strip().isdigit():
            self.length = int(value[:20])

    def on_message_complete(self) -> None:
        self.ended += 1


class RequestBoundary:
    """Counts the requests in a run of bytes. It may miss a boundary, but never reports a wrong one."""

    def __init__(self) -> None:
        self._tally = _MessageCounter()
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self._tally)
        self._left = 0  # bytes that are still to come of a body whose length is known

    @property
    def left(self) -> int:
        """How many bytes are still to come of a body whose length is known; 0 if there is none."""
        return self._left

    def feed(self, data: bytes) -> list[bytes]:
        """Read the next bytes; return them in pieces, none of which has parts of two requests, as far as can be told.

        aiohttp forgets the requests that a read begins with if it finds broken bytes behind them.
        """
        pieces: list[bytes] = []
        while self._parser is not None and len(pieces) < MAX_PIECES:
            end = self._left or data.find(HEAD_END) + len(HEAD_END)
            if end >= len(data) or (end < len(HEAD_END) and not self._left):
                break
            self._read(data[:end], is_last=False)
            pieces.append(data[:end])
            data = data[end:]
        self._read(data, is_last=True)
        return [*pieces, data]

    def follows(self, requests: int) -> bool:
        """Whether the bytes so far are exactly this number of whole requests."""
        return self._parser is not None and self._tally.begun == self._tally.ended == requests

    def _read(self, data: bytes, *, is_last: bool) -> None:
        """Read the next bytes. Bytes that are no HTTP request end the counting."""
        if self._parser is None:
            return
        was_in_body = self._left > 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # The request asks for another protocol. If it is the end of the read, the server may have refused it, and
            # HTTP goes on. What further bytes in this read mean, only the server knows.
            at_end = is_last and upgrade.args[0] == len(data)
            self._parser = httptools.HttpRequestParser(self._tally) if at_end else None
        except httptools.HttpParserError:
            self._parser = None
        if was_in_body:
            self._left = max(self._left - len(data), 0)
        elif self._tally.begun > self._tally.ended and data.endswith(HEAD_END):
            self._left = self._tally.length
