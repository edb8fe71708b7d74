"""Pure: the parser of requests for embeddings: checks a body, and takes the gateway's own fields out of it.

Only the fields that the gateway acts on are checked here; the upstream judges the rest. The answer is billed by the
tokens of the input, and never streamed, whatever the body says. In the place of an input some servers, such as vLLM,
take the messages of a chat; these count by their bytes, images too, until the upstream has counted them.
"""

from dataclasses import dataclass

from gateway.dialects.relayed_request import (
    RelayedFields,
    RelayedRequest,
    check_list_of_objects,
    checked_fields,
    read_source,
    without_own_fields,
)
from gateway.dialects.request_body import RequestBody
from gateway.dialects.text_input import check_input, count_input
from gateway.dialects.usage import text_tokens
from gateway.wire.json_members import Buffer

INPUT, MESSAGES = "input", "messages"
_PARAMETERS = frozenset(("model", "user", "encoding_format", "dimensions", "input_type", "truncate"))
ACTED_ON = tuple(RelayedFields.model_fields)


@dataclass(slots=True)
class EmbeddingsRequest(RelayedRequest):
    """A checked request for embeddings."""

    def max_output_tokens(self, unlimited: int) -> int:
        """No tokens: vectors cost nothing beside the input."""
        return 0

    def length_tells_tokens(self) -> bool:
        """False: vectors are no tokens."""
        return False


def parse(content: Buffer | RequestBody) -> EmbeddingsRequest:
    """Check a request's body. Raises `ClientError` that names the field."""
    source = read_source(content, ACTED_ON)
    fields = checked_fields(RelayedFields, source.document)
    tokens = _checked_tokens(source)
    is_extended = without_own_fields(source)
    request = EmbeddingsRequest(fields.model, fields.gateway, fields.routing, False, 0, tokens, source, is_extended)
    request.check_models()
    return request


def _checked_tokens(source: RequestBody) -> int:
    """The tokens of the input, or of the messages in its place. Raises `InvalidParameter` if there is neither."""
    document = source.document
    if INPUT in document or not isinstance(document.get(MESSAGES), list):
        check_input(document, INPUT)
        return count_input(source, INPUT, _PARAMETERS).tokens
    check_list_of_objects(document, MESSAGES)
    if source.outline is None:
        return count_input(source, MESSAGES, _PARAMETERS).tokens
    return text_tokens(len(source.content))
