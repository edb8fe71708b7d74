"""Pure: the count of a prompt's tokens, as an upstream answers it: one JSON object, never a stream.

The invariant: the answer goes out as the very bytes that came, and is billed as nothing.
"""

from gateway.dialects.dialect import AnswerReport, ReportedFailure
from gateway.dialects.messages import errors
from gateway.dialects.usage import Usage
from gateway.errors import UpstreamError
from gateway.wire import json_text

MAX_ANSWER_BYTES = 65536  # a longer answer is no count
_FREE = Usage(0, 0, estimated=False)


class CountDocument:
    """An answer with the count under `input_tokens`."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = content

    def usage(self, prompt_tokens: int) -> Usage:
        """Nothing: no model was asked."""
        return _FREE

    def encode(self, report: AnswerReport) -> bytes:
        """The answer as it came."""
        return self._content


def read_document(content: bytes | bytearray) -> CountDocument:
    """Read an answer. Raises `UpstreamError` if it is no count, or an error object."""
    if len(content) > MAX_ANSWER_BYTES:
        raise UpstreamError(f"the upstream's answer is not a count: it has more than {MAX_ANSWER_BYTES} bytes")
    try:
        answer = json_text.loads(content)
    except ValueError:
        raise UpstreamError("the upstream's answer is not JSON") from None
    if not isinstance(answer, dict):
        raise UpstreamError("the upstream's answer is not a JSON object")
    if type(answer.get("input_tokens")) is int:
        return CountDocument(bytes(content))
    if answer.get("type") == "error" or answer.get("error") or answer.get("detail"):
        raise ReportedFailure.of(errors.read_error(answer))
    raise UpstreamError("the upstream's answer is not a count: it has no input_tokens")
