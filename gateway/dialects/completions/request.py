"""Pure: the parser of requests for text completions: checks a body, and takes the gateway's own fields out of it.

Only the fields that the gateway acts on are checked here. The upstream judges the rest, and a refusal reaches the
client in the upstream's words. The first fault ends the check, so that a body of faults costs no more than another.
"""

from dataclasses import dataclass

from gateway.dialects.choices.request import ChoicesFields, ChoicesRequest
from gateway.dialects.relayed_request import NOT_SENT, checked_fields, read_source
from gateway.dialects.request_body import RequestBody
from gateway.dialects.request_fields import largest_count
from gateway.dialects.text_input import check_input, count_input
from gateway.wire.json_members import Buffer

PROMPT = "prompt"
_LIMITS = ("max_tokens", "max_completion_tokens", "n_predict")  # the members that limit an answer
_ALTERNATIVES = ("n", "best_of")  # what is generated for each prompt is the larger of both
_PARAMETERS = frozenset(
    (
        *("model", "stream", "stream_options", "seed", "user", "echo", "logprobs", "service_tier", "min_p"),
        *("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "repetition_penalty"),
        *_LIMITS,
        *_ALTERNATIVES,
    )
)
ACTED_ON = (*ChoicesFields.model_fields, "models", *_LIMITS, *_ALTERNATIVES)


@dataclass(slots=True)
class CompletionsRequest(ChoicesRequest):
    """A checked request for a text completion; its `choices` are those of all prompts."""


def parse(content: Buffer | RequestBody) -> CompletionsRequest:
    """Check a request's body. Raises `ClientError` that names the field."""
    source = read_source(content, ACTED_ON)
    document = source.document
    fields = checked_fields(ChoicesFields, document)
    check_input(document, PROMPT)
    found, options = count_input(source, PROMPT, _PARAMETERS), fields.stream_options
    is_extended = not NOT_SENT.isdisjoint(document)
    request = CompletionsRequest(
        fields.model,
        fields.gateway,
        fields.routing,
        bool(fields.stream),
        largest_count(source, _LIMITS),
        found.tokens,
        source,
        is_extended,
        options is not None and bool(options.include_usage),
        found.texts * (largest_count(source, _ALTERNATIVES) or 1),
    )
    if is_extended:
        request.extend(document)
    if fields.model is None or is_extended:
        request.check_models()
    return request
