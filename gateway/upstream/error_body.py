"""Pure: the reader of an upstream's answer that is not what was asked for: makes an error of the gateway from it.

In: the answer's status, its header fields and the bytes of its body. Out: one call of `BodyOwner.on_broken`.
"""

import re
from collections.abc import Mapping
from typing import Any

from gateway.dialects.dialect import Dialect, UpstreamMessage
from gateway.dialects.learned_shape import Counts
from gateway.dialects.usage import Usage, estimate
from gateway.errors import RateLimited, RivergateError, UpstreamError, UpstreamRefused
from gateway.upstream.bodies import BodyOwner
from gateway.wire import json_text

MAX_ERROR_BYTES = 65536  # what is read of one error body; the message in it is cut far shorter
MAX_RETRY_AFTER = 120  # seconds: openai's SDK does not wait longer, auriko's would wait for ever
MAX_TOLD_VALUE = 80  # characters of a header field that an error message repeats

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_OUR_CREDENTIAL = frozenset({401, 403})  # statuses whose message may quote the gateway's key, so it is not passed on
_CLIENTS_FAULT = frozenset({400, 413, 422})


class ErrorBody:
    """An answer that is not what was asked for; its status and its message become one error of the gateway."""

    __slots__ = ("_data", "_dialect", "_expected", "_headers", "_owner", "_status", "counts", "over")

    def __init__(
        self, owner: BodyOwner, dialect: Dialect, status: int, headers: Mapping[str, str], expected: str
    ) -> None:
        """`expected`: what was asked for, in words."""
        self._owner = owner
        self._dialect = dialect
        self._status = status
        self._headers = headers
        self._expected = expected
        self._data = bytearray()
        self.counts = Counts()
        self.over = False

    def feed(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > MAX_ERROR_BYTES:
            self.finish()

    def finish(self) -> None:
        if not self.over:
            self.over = True
            self._owner.on_broken(self._error())

    def stop(self) -> None:
        self.over = True

    def usage(self, prompt_tokens: int) -> Usage:
        """The usage of an error: no tokens."""
        return estimate(prompt_tokens, 0, 0)

    def release(self) -> None:
        del self._owner

    def _error(self) -> RivergateError:
        body = self._json()
        message = self._dialect.read_error(body) if body is not None else None
        quoted = message.text if message is not None else ""
        status = self._status
        if status == 429:
            return RateLimited("over its limit (HTTP 429)", quoted=quoted, retry_after=self._wait())
        if status in _OUR_CREDENTIAL:
            return UpstreamError(f"it refused the gateway's credential (HTTP {status})")
        if status in _CLIENTS_FAULT:
            return _refusal(message, f"the upstream refused the request (HTTP {status})")
        if 200 <= status < 300:
            kind = self._headers.get("content-type", "nothing").split(";")[0][:MAX_TOLD_VALUE]
            return UpstreamError(f"it answered with {kind} instead of {self._expected}", quoted=quoted)
        return UpstreamError(f"HTTP {status}", quoted=quoted, retry_after=self._wait())

    def _json(self) -> dict[str, Any] | None:
        try:
            body = json_text.loads(self._data)
        except ValueError:
            return None
        return body if isinstance(body, dict) else None

    def _wait(self) -> int | None:
        """The `Retry-After` in whole seconds (RFC 9110 section 10.2.3); None for a date, and for nonsense."""
        text = self._headers.get("retry-after", "").strip()
        if not (text.isascii() and text.isdigit()):
            return None
        return min(int(text[:9]), MAX_RETRY_AFTER)


def _refusal(message: UpstreamMessage | None, reason: str) -> UpstreamRefused:
    if message is None:
        return UpstreamRefused(reason)
    code, param = message.code, message.param
    return UpstreamRefused(
        reason,
        quoted=message.text,
        code=code if isinstance(code, str) and _CODE.fullmatch(code) else None,
        param=param[:MAX_TOLD_VALUE] if isinstance(param, str) else None,
    )
