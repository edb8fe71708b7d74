"""Pure: the finder of boundaries between requests, in bytes that aiohttp's parser reads.

In: the bytes that aiohttp is given. Out: whether they end exactly at the end of a request. aiohttp's own parser does
not tell, so a second parser reads along (httptools, which is built on llhttp, as aiohttp's is).
"""

import httptools


class _MessageCounter:
    """Counts the requests that have begun, and the requests that have ended."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_message_complete(self) -> None:
        self.ended += 1


class RequestBoundary:
    """Counts the requests in a run of bytes. It may miss a boundary, but never reports a wrong one."""

    def __init__(self) -> None:
        self._tally = _MessageCounter()
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self._tally)

    def feed(self, data: bytes) -> None:
        """Read the next bytes. Bytes that are no HTTP request end the counting."""
        if self._parser is None:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # The request asks for another protocol. If it is the end of the read, the server may have refused it, and
            # HTTP goes on. What further bytes in this read mean, only the server knows.
            at_end = upgrade.args[0] == len(data)
            self._parser = httptools.HttpRequestParser(self._tally) if at_end else None
        except httptools.HttpParserError:
            self._parser = None

    def follows(self, requests: int) -> bool:
        """Whether the bytes so far are exactly this number of whole requests."""
        return self._parser is not None and self._tally.begun == self._tally.ended == requests
