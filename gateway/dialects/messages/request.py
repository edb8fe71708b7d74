"""Pure: the parser of requests for a message: checks a body, and takes the gateway's own fields out of it."""

from dataclasses import dataclass

from gateway.dialects.messages import prompt
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
from gateway.wire.json_members import Buffer

LISTS_OF_OBJECTS: tuple[str, ...] = ("messages",)
_LIMITS = ("max_tokens",)
ACTED_ON = (*RelayedFields.model_fields, "models", *_LIMITS)


@dataclass(slots=True)
class MessageRequest(RelayedRequest):
    """A checked request for a message."""


@dataclass(slots=True)
class CountRequest(RelayedRequest):
    """A checked request for the count of a prompt's tokens, which costs nothing."""

    def max_output_tokens(self, unlimited: int) -> int:
        """None: no model writes anything."""
        return 0

    def estimate_prompt_tokens(self) -> int:
        """None: no model reads the prompt."""
        return 0

    def length_tells_tokens(self) -> bool:
        """False: the answer is no text of a model."""
        return False


def parse_message(content: Buffer | RequestBody) -> MessageRequest:
    """Check the body of a request for a message. Raises `ClientError` that names the field."""
    source, fields = _checked(content)
    limit = largest_count(source, _LIMITS) if "max_tokens" in source.document else None
    prompt_tokens = prompt.estimate(source, NOT_SENT)
    is_extended = without_own_fields(source)
    request = MessageRequest(
        fields.model,
        fields.gateway,
        fields.routing,
        bool(fields.stream),
        limit,
        prompt_tokens,
        source,
        is_extended,
    )
    request.check_models()
    return request


def parse_count(content: Buffer | RequestBody) -> CountRequest:
    """Check the body of a request for a count. Raises `ClientError` that names the field."""
    source, fields = _checked(content)
    is_extended = without_own_fields(source)
    request = CountRequest(fields.model, fields.gateway, fields.routing, False, None, 0, source, is_extended)
    request.check_models()
    return request


def _checked(content: Buffer | RequestBody) -> tuple[RequestBody, RelayedFields]:
    source = read_source(content, ACTED_ON)
    fields = checked_fields(RelayedFields, source.document)
    check_list_of_objects(source.document, "messages")
    return source, fields
