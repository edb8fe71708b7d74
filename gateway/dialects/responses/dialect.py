"""Pure: the Responses API as a dialect of the gateway: `POST /v1/responses`."""

from collections.abc import Generator, Mapping
from types import MappingProxyType
from typing import Any

from gateway.dialects.dialect import AnswerIdentity, AnswerKeeping, Refusal, UpstreamMessage
from gateway.dialects.learned_shape import AnswerMemory
from gateway.dialects.request_body import BodyReading, RequestBody
from gateway.dialects.responses import document, errors, request
from gateway.dialects.responses.joining import ResponseJoiner
from gateway.dialects.responses.prompt import MediaOfInput
from gateway.dialects.responses.reader import ResponsesReader
from gateway.dialects.responses.state import KEPT
from gateway.errors import RivergateError
from gateway.wire import json_text, sse
from gateway.wire.json_members import Buffer


class ResponsesDialect:
    """The dialect of OpenAI's Responses API, which its SDKs and most frameworks for agents use by default."""

    name = "responses"
    path = "/v1/responses"
    upstream_path = "/responses"
    operation = "responses"
    keepalive = sse.KEEPALIVE
    terminal = b""
    speaks = "responses"
    streams = True
    forwarded: Mapping[str, str | None] = MappingProxyType({})
    forwards_query = False
    id_field: str | None = None
    keeping: AnswerKeeping | None = KEPT

    def begin_reading(self, content: Buffer) -> BodyReading:
        """Begin to read a long body in steps."""
        return BodyReading(content, request.LISTS_OF_OBJECTS, MediaOfInput())

    def parse(self, content: Buffer | RequestBody) -> request.ResponsesRequest:
        """Check a request's body. Raises `ClientError` that names the field."""
        return request.parse(content)

    def reader(self, identity: AnswerIdentity, memory: AnswerMemory | None = None) -> ResponsesReader:
        """A reader for one streamed response."""
        return ResponsesReader(identity, memory)

    def read_document(self, content: bytes | bytearray, identity: AnswerIdentity) -> document.ResponseDocument:
        """Read a whole response. Raises `UpstreamError` if the content is no response, or tells of a failure."""
        return document.read_document(content)

    def joiner(self) -> ResponseJoiner:
        """A joiner for one response that came as events."""
        return ResponseJoiner()

    def read_long_document(
        self, content: bytes | bytearray, identity: AnswerIdentity
    ) -> Generator[None, None, document.ResponseDocument]:
        """Read a whole response in steps. Raises `UpstreamError` as `read_document` does."""
        return document.read_long_document(content)

    def read_error(self, body: Mapping[str, Any]) -> UpstreamMessage | None:
        """The message of an error answer, which may have any of the usual shapes; None if it holds no words."""
        return errors.read_refusal(body)

    def refusal(self, error: RivergateError, request_id: str) -> Refusal:
        """The error as an HTTP answer, in OpenAI's envelope; the id of the request stands in a header only."""
        return Refusal(error.status, error.headers(), json_text.dumps_line(error.envelope()))


RESPONSES = ResponsesDialect()
