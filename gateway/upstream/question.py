"""Shell: a question that an upstream is asked outside of any race: a request without a body, and its whole answer.

In: an endpoint, a method, a path and a limit of time. Out: what the upstream answered. The invariant: the connection
is closed in any case.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from gateway.errors import RivergateError, UpstreamError
from gateway.upstream.connection import BodyHandler, UpstreamConnection
from gateway.upstream.endpoint import Endpoint

ERROR_BYTES = 65536  # what is kept of the body of an error


class Reply(NamedTuple):
    """What an upstream answered."""

    status: int
    body: bytearray


async def ask(endpoint: Endpoint, method: str, path: str, seconds: float, max_bytes: int, query: str = "") -> Reply:
    """The answer of the upstream to this request. `query`: percent-encoded.

    Raises `UpstreamError` if no answer comes within these seconds, or one of more than `max_bytes`.
    """
    request = endpoint.encode_question(path, method, query)
    return await ask_over(endpoint.pool.dial, request, seconds, max_bytes)


async def ask_over(
    dial: Callable[[], Awaitable[UpstreamConnection]], request: bytes, seconds: float, max_bytes: int
) -> Reply:
    """The answer to this request over a new connection. Raises as `ask` does."""
    exchange = _Exchange(max_bytes)
    connection = None
    try:
        async with asyncio.timeout(seconds):
            connection = await dial()
            connection.send(request, exchange)
            await exchange.ended
    except TimeoutError:
        raise UpstreamError(f"no answer within {seconds:g} s") from None
    finally:
        if connection is not None:
            connection.abort()
    return Reply(exchange.status, exchange.body)


class _Exchange:
    """The answer, as its bytes come (`ResponseReceiver`)."""

    def __init__(self, max_bytes: int) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.status = 0
        self.body = bytearray()
        self._max_bytes = max_bytes

    def on_head(self, status: int, headers: Mapping[str, str]) -> BodyHandler:
        self.status = status
        return self._take if 200 <= status < 300 else self._take_some

    def on_end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def on_lost(self, error: RivergateError, *, untouched: bool) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)

    def _take(self, data: bytes) -> None:
        self.body += data
        if len(self.body) > self._max_bytes and not self.ended.done():
            self.ended.set_exception(UpstreamError(f"its answer is over {self._max_bytes} bytes"))

    def _take_some(self, data: bytes) -> None:
        """Take the body of an error, of which a client is told some words only."""
        if len(self.body) < ERROR_BYTES:
            self.body += data[: ERROR_BYTES - len(self.body)]
