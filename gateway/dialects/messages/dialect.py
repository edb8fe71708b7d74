"""Pure: Anthropic's messages as a dialect of the gateway: `POST /v1/messages`."""

from collections.abc import Generator, Mapping
from types import MappingProxyType
from typing import Any

from gateway.dialects import error_shapes
from gateway.dialects.dialect import AnswerIdentity, AnswerKeeping, Refusal, UpstreamMessage
from gateway.dialects.learned_shape import AnswerMemory
from gateway.dialects.messages import document, errors, frames, request
from gateway.dialects.messages.joining import MessagesJoiner
from gateway.dialects.messages.reader import MessagesReader
from gateway.dialects.messages.sources import SourceCount
from gateway.dialects.request_body import BodyReading, RequestBody
from gateway.errors import RivergateError
from gateway.wire import json_text
from gateway.wire.json_members import Buffer


class MessagesDialect:
    """The dialect of Anthropic's messages, which its SDKs and Claude Code speak."""

    name = "messages"
    speaks = "messages"
    streams = True
    path = "/v1/messages"
    upstream_path = "/messages"
    operation = "chat"
    forwarded: Mapping[str, str | None] = MappingProxyType(
        {"anthropic-version": "2023-06-01", "anthropic-beta": None}
    )
    forwards_query = True
    id_field: str | None = "request-id"
    keeping: AnswerKeeping | None = None
    keepalive = frames.PING
    terminal = b""  # the end of the body ends a stream: a broken one has no `message_stop`

    def begin_reading(self, content: Buffer) -> BodyReading:
        """Begin to read a long body in steps."""
        return BodyReading(content, request.LISTS_OF_OBJECTS, SourceCount())

    def parse(self, content: Buffer | RequestBody) -> request.MessageRequest:
        """Check a request's body. Raises `ClientError` that names the field."""
        return request.parse_message(content)

    def reader(self, identity: AnswerIdentity, memory: AnswerMemory | None = None) -> MessagesReader:
        """A reader for one streamed message."""
        return MessagesReader(identity, memory)

    def read_document(self, content: bytes | bytearray, identity: AnswerIdentity) -> document.MessageDocument:
        """Read a whole message. Raises `UpstreamError` if the content is no message, or an error object."""
        return document.read_document(content, identity)

    def joiner(self) -> MessagesJoiner:
        """A joiner for one message that came as events."""
        return MessagesJoiner()

    def read_long_document(
        self, content: bytes | bytearray, identity: AnswerIdentity
    ) -> Generator[None, None, document.MessageDocument]:
        """Read a whole message in steps. Raises `UpstreamError` as `read_document` does."""
        return document.read_long_document(content, identity)

    def read_error(self, body: Mapping[str, Any]) -> UpstreamMessage | None:
        """The message of an error answer, which may have any of the usual shapes; None if it holds no words."""
        return error_shapes.read_refusal(body)

    def refusal(self, error: RivergateError, request_id: str) -> Refusal:
        """The error as an HTTP answer, in Anthropic's envelope."""
        body = json_text.dumps_line(errors.envelope(error, request_id))
        return Refusal(errors.status_of(error), error.headers(), body)


MESSAGES = MessagesDialect()
