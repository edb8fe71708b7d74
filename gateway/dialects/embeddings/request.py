"""Pure: the parser of requests for embeddings: checks a body, and takes the gateway's own fields out of it.

Only the fields that the gateway acts on are checked here; the upstream judges the rest. The answer is billed by the
tokens of the input, and never streamed, whatever the body says.
"""

from dataclasses import dataclass

from gateway.dialects.relayed_request import (
    RelayedFields,
    RelayedRequest,
    checked_fields,
    read_source,
    without_own_fields,
)
from gateway.dialects.request_body import RequestBody
from gateway.dialects.text_input import check_input, count_input
from gateway.wire.json_members import Buffer

INPUT = "input"
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
    check_input(source.document, INPUT)
    tokens = count_input(source, INPUT, _PARAMETERS).tokens
    is_extended = without_own_fields(source)
    request = EmbeddingsRequest(fields.model, fields.gateway, fields.routing, False, 0, tokens, source, is_extended)
    request.check_models()
    return request
