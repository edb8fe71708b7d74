"""Pure: the reader of an upstream's answer that is not what was asked for: makes an error of the gateway from it.

In: the head of the answer and the bytes of its body. Out: one call of `BodyOwner.on_broken`.
"""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.dialects.dialect import Dialect, UpstreamMessage
from gateway.dialects.learned_shape import Counts
from gateway.dialects.usage import Usage, estimate
from gateway.errors import RivergateError, UpstreamError
from gateway.upstream.blame import ErrorAnswer, blame, blame_report, told_status
from gateway.upstream.bodies import BodyOwner, Steps
from gateway.upstream.retry_wait import asked_wait
from gateway.upstream.told_type import told_type
from gateway.wire import json_text

MAX_ERROR_BYTES = 65536  # what is read of one error body; the message in it is cut far shorter

_MARKUP = re.compile(r"\s*<(?:[!?]|[a-z])", re.IGNORECASE)
_TITLE = re.compile(r"<(title|message)\b[^<>]{0,200}>([^<>]{1,2000})<", re.IGNORECASE)
_MESSAGE = re.compile(r'"(?:[Mm]essage|msg|detail|error)"\s*:\s*("(?:[^"\\]|\\.){1,2000})')


@dataclass(frozen=True, slots=True)
class ErrorHead:
    """The head of an answer that is not what was asked for.

    `expected`: what was asked for, in words. `at`: when the head came, in Unix seconds, for waits told by a date.
    """

    status: int
    headers: Mapping[str, str]
    expected: str
    at: float = 0.0


class ErrorBody:
    """An answer that is not what was asked for; its status and its message become one error of the gateway."""

    __slots__ = ("_data", "_dialect", "_head", "_owner", "counts", "over")

    def __init__(self, owner: BodyOwner, dialect: Dialect, head: ErrorHead) -> None:
        self._owner = owner
        self._dialect = dialect
        self._head = head
        self._data = bytearray()
        self.counts = Counts()
        self.over = False

    def feed(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > MAX_ERROR_BYTES:
            self.finish()

    def finish(self) -> Steps:
        if not self.over:
            self.over = True
            self._owner.on_broken(self._error())
        return None

    def stop(self) -> None:
        self.over = True

    def usage(self, prompt_tokens: int) -> Usage:
        """The usage of an error: no tokens."""
        return estimate(prompt_tokens, 0, 0)

    def release(self) -> None:
        del self._owner

    def _error(self) -> RivergateError:
        head, message = self._head, told_message(self._data, self._dialect)
        if not 200 <= head.status < 300:
            limited = head.status == 429
            return blame(
                ErrorAnswer(head.status, message, asked_wait(head.headers, message, head.at, limited=limited))
            )
        if message is not None and told_status(message) is not None:
            return blame_report(message, begun=False)
        kind = told_type(head.headers)
        error = UpstreamError(
            f"it answered with {kind} instead of {head.expected}", quoted=message.text if message is not None else ""
        )
        error.answered_with(head.status)
        return error


def told_message(body: bytearray, dialect: Dialect) -> UpstreamMessage | None:
    """The upstream's words in the body of an error, wherever they stand; None if there are none."""
    try:
        value: Any = json_text.loads(body)
    except ValueError:
        value = _plain_words(body[:MAX_ERROR_BYTES].decode("utf-8", "replace"))
    if isinstance(value, list):  # Google lists the object of an error
        value = next((entry for entry in value if isinstance(entry, dict)), {"errors": value})
    if isinstance(value, str):
        words = value.strip()
        return dialect.read_error({"message": words}) or (UpstreamMessage(words) if words else None)
    return dialect.read_error(value) if isinstance(value, dict) else None


def _plain_words(text: str) -> str:
    """The words of a body that is no JSON: the text, or the title of a page."""
    if _MARKUP.match(text):
        found = _TITLE.search(text)
        return html.unescape(" ".join(found[2].split())) if found is not None else ""
    if text.lstrip().startswith(("{", "[")):
        return _words_of_half(text)
    return text if "\ufffd" not in text[:200] else ""


def _words_of_half(text: str) -> str:
    """The first message in an object that was cut off; the object itself has no words for a client."""
    found = _MESSAGE.search(text)
    try:
        words = json_text.loads(f'{found[1]}"'.encode()) if found is not None else ""
    except ValueError:
        return ""
    return words if isinstance(words, str) else ""
