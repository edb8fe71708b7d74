"""Pure: the parser of requests for responses: checks a body, and notes what the gateway acts on.

Only what the gateway acts on is checked: the input is a text or a list of objects, and a response in the background
is streamed. The upstream judges the rest.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pydantic import StrictBool, StrictStr

from gateway.dialects.extension import StreamPolicy
from gateway.dialects.relayed_request import (
    NOT_SENT,
    RelayedFields,
    RelayedRequest,
    check_list_of_objects,
    checked_fields,
    read_source,
    without_own_fields,
)
from gateway.dialects.request_body import RequestBody
from gateway.dialects.request_fields import largest_count
from gateway.dialects.responses import prompt
from gateway.dialects.responses.state import conversation_in
from gateway.errors import InvalidParameter
from gateway.wire.json_members import Buffer

LISTS_OF_OBJECTS: tuple[str, ...] = ("input",)
_LIMITS = ("max_output_tokens",)
_WITHOUT_INPUT = ("prompt", "previous_response_id", "conversation")  # members of which one may stand for the input
# Members that make the JSON of an answer longer than its text: it repeats them, or brings more than text.
_LENGTHENING = ("instructions", "tools", "include", "top_logprobs", "prompt", "metadata", "text")


class ResponsesFields(RelayedFields):
    """The fields of a request that the gateway acts on, beside the input and the limit of the answer."""

    background: StrictBool | None = None
    store: StrictBool | None = None
    previous_response_id: StrictStr | None = None


ACTED_ON = (*ResponsesFields.model_fields, "max_output_tokens", "conversation")


@dataclass(slots=True)
class ResponsesRequest(RelayedRequest):
    """A checked request for a response.

    `background`: it runs on without a subscriber. `stores`: whether the upstream is to keep it; None: as it likes.
    `previous_id`: the id of the response that it follows, `conversation_id`: of the conversation that it belongs to,
    which the upstream must know.
    """

    background: bool = False
    stores: bool | None = None
    previous_id: str | None = None
    conversation_id: str | None = None
    context_tokens: int = 0  # of what the upstream keeps, and reads again with this request

    def only_model(self) -> str | None:
        """The model asked for, if that is all that the request says to the gateway; else None."""
        return None if self.background else RelayedRequest.only_model(self)

    def stream_policy(self) -> StreamPolicy:
        """The policy for this stream when it has no subscribers: in the background it runs on."""
        policy = RelayedRequest.stream_policy(self)
        if not self.background or policy.on_last_reader is not None:
            return policy
        return policy.model_copy(update={"on_last_reader": "drain"})

    def previous_answer(self) -> str | None:
        """The id of the answer that this request goes on from, at the same upstream; None: it begins anew."""
        return self.previous_id

    def conversation(self) -> str | None:
        """The id of the conversation that this request belongs to, which one upstream keeps; None: it names none."""
        return self.conversation_id

    def add_context(self, tokens: int) -> None:
        """Count these tokens to the prompt: the upstream reads them again, although they are not in the body."""
        self.context_tokens = tokens

    def estimate_prompt_tokens(self) -> int:
        """The tokens of everything that goes upstream, and of what the upstream keeps and reads again."""
        return self.prompt_tokens + self.context_tokens

    def not_sent(self) -> Collection[str]:
        """The members of the body that do not go upstream: the gateway itself is the background."""
        return NOT_SENT | {"background"} if self.background else NOT_SENT

    def length_tells_tokens(self) -> bool:
        """Whether the answer is hardly longer than its text."""
        return not any(self.body.get(name) for name in _LENGTHENING)


def parse(content: Buffer | RequestBody) -> ResponsesRequest:
    """Check a request's body. Raises `ClientError` that names the field."""
    source = read_source(content, ACTED_ON)
    document = source.document
    fields = checked_fields(ResponsesFields, document)
    if not isinstance(document.get("input"), str):
        _check_input(document)
    if fields.background and not fields.stream:
        reason = "background: a response runs in the background only if it is streamed; add stream: true"
        raise InvalidParameter(reason, param="background")
    is_extended = not NOT_SENT.isdisjoint(document) or bool(fields.background)
    request = ResponsesRequest(
        fields.model,
        fields.gateway,
        fields.routing,
        bool(fields.stream),
        largest_count(source, _LIMITS) if "max_output_tokens" in document else None,
        prompt.estimate(source, NOT_SENT),
        source,
        is_extended,
        bool(fields.background),
        fields.store,
        fields.previous_response_id or None,
        conversation_in(document),
    )
    if is_extended:
        without_own_fields(source)
    if fields.model is None or is_extended:
        request.check_models()
    return request


def _check_input(document: dict[str, Any]) -> None:
    """Refuse a body whose input, which is no text, is no list of objects either. Raises `InvalidParameter`."""
    value = document.get("input")
    if value is None:
        if not any(document.get(name) for name in _WITHOUT_INPUT):
            hint = " (messages belong to /v1/chat/completions)" if "messages" in document else ""
            raise InvalidParameter(f"input: is required{hint}", param="input")
    elif not isinstance(value, list):
        raise InvalidParameter("input: must be a text or a list of items", param="input")
    elif value:
        check_list_of_objects(document, "input")
