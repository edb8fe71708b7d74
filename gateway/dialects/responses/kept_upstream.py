"""Pure: what an upstream tells of a response that it keeps, for a client that asks for it again.

In: the bytes of the upstream's answer. Out, in short steps: the JSON for the client. The invariant: these are the
very bytes that came, unless the response has failed; then the words for its failure are redacted.
"""

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

from gateway.dialects.dialect import ReportedFailure, UpstreamMessage
from gateway.dialects.long_answer import abridged_answer, value_of
from gateway.dialects.long_event import LONG_BYTES
from gateway.dialects.responses import closing
from gateway.dialects.responses.errors import is_error, read_failed, read_refusal
from gateway.dialects.responses.shapes import RESPONSE
from gateway.errors import RivergateError, UpstreamError
from gateway.wire import json_text
from gateway.wire.json_abridged import Abridged
from gateway.wire.json_filling import FilledText, without_stand_ins
from gateway.wire.json_members import Buffer
from gateway.wire.json_pieces import LongText, TextAsItCame

_NO_ERRORS = frozenset({"list", "response", "response.deleted"})  # what an answer that is no error calls itself


def told_by_upstream(
    content: Buffer, redact: Callable[[RivergateError], None]
) -> Generator[None, None, bytes | LongText]:
    """The JSON for the client; `redact` takes secrets out of an error.

    Raises `UpstreamError` if the answer is no JSON object, or is an error in the place of a response.
    """
    abridged = (yield from abridged_answer(content, RESPONSE)) if len(content) > LONG_BYTES else None
    told, is_repaired = value_of(content if abridged is None else abridged.text)
    if not isinstance(told, dict):
        raise UpstreamError("the upstream's answer is not a JSON object")
    message = _message_in(told)
    if message is not None:
        text = message.text if abridged is None else without_stand_ins(abridged, message.text)
        failure = ReportedFailure.of(replace(message, text=text), _word(message.code))
        redact(failure)
        if told.get("object") != "response":
            raise failure
        told = closing.failed_response(told, _code_of(failure), failure.quoted)
    elif not is_repaired and not (abridged is not None and abridged.is_repaired):
        return bytes(content) if abridged is None else TextAsItCame(content)
    return _written(told, abridged)


def _written(told: dict[str, Any], abridged: Abridged | None) -> bytes | LongText:
    text = json_text.dumps_line(told)
    return text if abridged is None else FilledText(abridged, text)


def _message_in(told: dict[str, Any]) -> UpstreamMessage | None:
    """What an answer says of a failure; None: it tells of none."""
    message = read_failed(told)
    if message is None and told.get("object") not in _NO_ERRORS and is_error(told):
        message = read_refusal(told)
    return message


def _word(code: object) -> str | None:
    return code if isinstance(code, str) and code else None


def _code_of(failure: ReportedFailure) -> str:
    """The upstream's own code, unless it holds a secret; OpenAI's for a failure of the server if there is none."""
    return failure.code if failure.code != ReportedFailure.code else "server_error"
