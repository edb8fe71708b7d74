"""Pure: a whole chat completion, the answer to a request that is not streamed."""

from typing import Any

from gateway.dialects.chat.errors import read_error
from gateway.dialects.chat.repair import Identity, repair_completion, reported_usage
from gateway.dialects.dialect import AnswerReport
from gateway.dialects.usage import Usage, estimate
from gateway.errors import UpstreamError
from gateway.wire import json_text


class ChatDocument:
    """A completion that strict clients accept, without the upstream's usage, which is kept beside it."""

    __slots__ = ("_completion", "_reported")

    def __init__(self, completion: dict[str, Any], reported: Usage | None) -> None:
        self._completion = completion
        self._reported = reported

    def usage(self, prompt_tokens: int) -> Usage:
        """The upstream's counts, else an estimate by the length of the choices as JSON."""
        if self._reported is not None:
            return self._reported
        return estimate(prompt_tokens, 0, len(json_text.dumps(self._completion["choices"])))

    def encode(self, report: AnswerReport) -> bytes:
        """The completion with `usage` and `routing_metadata`. Raises `ValueError` if it is nested too deeply."""
        members = {"usage": report.usage.as_json(), "routing_metadata": report.metadata}
        return json_text.dumps({**self._completion, **members})


def read_document(content: bytes | bytearray, identity: Identity) -> ChatDocument:
    """Read and repair a completion. Raises `UpstreamError` if the content is no completion, or an error object."""
    try:
        completion = json_text.loads(content)
    except ValueError:
        raise UpstreamError("the upstream's answer is not JSON") from None
    if not isinstance(completion, dict):
        raise UpstreamError("the upstream's answer is not a JSON object")
    if (message := read_error(completion)) is not None:
        raise UpstreamError("the upstream reported an error", quoted=message.text)
    try:
        repair_completion(completion, identity)
    except ValueError as problem:
        raise UpstreamError(f"the upstream's answer is not a completion: {problem}") from None
    reported = reported_usage(completion.pop("usage", None))
    completion.pop("routing_metadata", None)  # an upstream may be a gateway, and speak of its own routing
    return ChatDocument(completion, reported)
