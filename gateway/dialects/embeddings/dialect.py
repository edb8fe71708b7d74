"""Pure: embeddings as a dialect of the gateway: `POST /v1/embeddings`."""

from collections.abc import Generator, Mapping
from types import MappingProxyType
from typing import Any

from gateway.dialects import error_shapes
from gateway.dialects.choices.event_errors import read_event_error
from gateway.dialects.dialect import AnswerIdentity, AnswerKeeping, Refusal, UpstreamMessage
from gateway.dialects.embeddings import document, request
from gateway.dialects.learned_shape import AnswerMemory
from gateway.dialects.request_body import BodyReading, RequestBody
from gateway.dialects.text_input import InputReading
from gateway.dialects.whole_only import NoEventsJoiner, NoEventsReader
from gateway.errors import RivergateError
from gateway.wire import json_text, sse
from gateway.wire.json_members import Buffer


class EmbeddingsDialect:
    """The dialect of OpenAI's embeddings, which is never streamed."""

    name = speaks = "embeddings"
    streams = False
    path = "/v1/embeddings"
    upstream_path = "/embeddings"
    forwarded: Mapping[str, str | None] = MappingProxyType({})
    forwards_query = False
    id_field: str | None = None
    keeping: AnswerKeeping | None = None
    operation = "embeddings"
    keepalive = sse.KEEPALIVE
    terminal = b""

    def begin_reading(self, content: Buffer) -> BodyReading:
        """Begin to read a long body in steps."""
        return InputReading(content, request.INPUT)

    def parse(self, content: Buffer | RequestBody) -> request.EmbeddingsRequest:
        """Check a request's body. Raises `ClientError` that names the field."""
        return request.parse(content)

    def reader(self, identity: AnswerIdentity, memory: AnswerMemory | None = None) -> NoEventsReader:
        """A reader that refuses events."""
        return NoEventsReader(read_event_error)

    def read_document(self, content: bytes | bytearray, identity: AnswerIdentity) -> document.EmbeddingsDocument:
        """Read an answer. Raises `UpstreamError` if the content has no embeddings, or is an error object."""
        return document.read_document(content, identity)

    def joiner(self) -> NoEventsJoiner:
        """A joiner that refuses events."""
        return NoEventsJoiner()

    def read_long_document(
        self, content: bytes | bytearray, identity: AnswerIdentity
    ) -> Generator[None, None, document.EmbeddingsDocument]:
        """Read a long answer in steps. Raises `UpstreamError` as `read_document` does."""
        return document.read_in_steps(content, identity)

    def read_error(self, body: Mapping[str, Any]) -> UpstreamMessage | None:
        """The message of an error answer, which may have any of the usual shapes; None if it holds no words."""
        return error_shapes.read_refusal(body)

    def refusal(self, error: RivergateError, request_id: str) -> Refusal:
        """The error as an HTTP answer, in OpenAI's envelope; the id of the request stands in a header only."""
        return Refusal(error.status, error.headers(), json_text.dumps_line(error.envelope()))


EMBEDDINGS = EmbeddingsDialect()
