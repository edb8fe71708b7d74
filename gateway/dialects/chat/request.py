"""Pure: the parser of chat completion requests: checks a body, and takes the gateway's own fields out of it.

Only the fields that the gateway acts on are checked here. The upstream judges the rest, and a refusal reaches the
client in the upstream's words. The first fault ends the check, so that a body of faults costs no more than another.
"""

from dataclasses import dataclass

from gateway.dialects.chat import prompt
from gateway.dialects.choices.request import ChoicesFields, ChoicesRequest
from gateway.dialects.relayed_request import NOT_SENT, check_list_of_objects, checked_fields, read_source
from gateway.dialects.request_body import RequestBody
from gateway.dialects.request_fields import largest_count
from gateway.wire.json_members import Buffer

LISTS_OF_OBJECTS: tuple[str, ...] = ("messages",)
_LIMITS, _CHOICES = ("max_completion_tokens", "max_tokens"), ("n",)  # the members that limit an answer
ACTED_ON = (*ChoicesFields.model_fields, "models", "max_tokens", "max_completion_tokens", "n")


@dataclass(slots=True)
class ChatRequest(ChoicesRequest):
    """A checked request for a chat completion."""


def parse(content: Buffer | RequestBody) -> ChatRequest:
    """Check a request's body. Raises `ClientError` that names the field."""
    source = read_source(content, ACTED_ON)
    document = source.document
    fields = checked_fields(ChoicesFields, document)
    check_list_of_objects(document, "messages")
    return _checked(fields, source)


def _checked(fields: ChoicesFields, source: RequestBody) -> ChatRequest:
    document, options = source.document, fields.stream_options
    limited = "max_tokens" in document or "max_completion_tokens" in document
    is_extended = not NOT_SENT.isdisjoint(document)
    request = ChatRequest(
        fields.model,
        fields.gateway,
        fields.routing,
        bool(fields.stream),
        largest_count(source, _LIMITS) if limited else None,
        prompt.estimate(source, NOT_SENT),
        source,
        is_extended,
        options is not None and bool(options.include_usage),
        largest_count(source, _CHOICES) or 1 if "n" in document else 1,
    )
    if is_extended:
        request.extend(document)
    if fields.model is None or is_extended:
        request.check_models()
    return request
