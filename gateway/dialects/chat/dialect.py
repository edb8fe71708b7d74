"""Pure: chat completions as a dialect of the gateway: `POST /v1/chat/completions`."""

from collections.abc import Generator, Mapping
from types import MappingProxyType
from typing import Any

from gateway.dialects.chat import request
from gateway.dialects.chat.document import ChatDocument
from gateway.dialects.chat.joining import ChatJoiner
from gateway.dialects.chat.media_count import MediaCount
from gateway.dialects.chat.reader import ChatReader
from gateway.dialects.chat.repair import Identity
from gateway.dialects.choices import errors
from gateway.dialects.choices.frames import DONE
from gateway.dialects.dialect import AnswerIdentity, AnswerKeeping, Refusal, UpstreamMessage
from gateway.dialects.learned_shape import AnswerMemory
from gateway.dialects.request_body import BodyReading, RequestBody
from gateway.errors import RivergateError
from gateway.wire import json_text, sse
from gateway.wire.json_members import Buffer


class ChatDialect:
    """The dialect of OpenAI's chat completions, which most providers and clients speak."""

    name = speaks = "chat"
    streams = True
    path = "/v1/chat/completions"
    upstream_path = "/chat/completions"
    forwarded: Mapping[str, str | None] = MappingProxyType({})
    forwards_query = False
    id_field: str | None = None
    keeping: AnswerKeeping | None = None
    operation = "chat"
    keepalive = sse.KEEPALIVE
    terminal = DONE

    def begin_reading(self, content: Buffer) -> BodyReading:
        """Begin to read a long body in steps."""
        return BodyReading(content, request.LISTS_OF_OBJECTS, MediaCount())

    def parse(self, content: Buffer | RequestBody) -> request.ChatRequest:
        """Check a request's body. Raises `ClientError` that names the field."""
        return request.parse(content)

    def reader(self, identity: AnswerIdentity, memory: AnswerMemory | None = None) -> ChatReader:
        """A reader for one streamed completion."""
        return ChatReader(_identity(identity), memory)

    def read_document(self, content: bytes | bytearray, identity: AnswerIdentity) -> ChatDocument:
        """Read a whole completion. Raises `UpstreamError` if the content is no completion, or an error object."""
        return ChatDocument.read(content, _identity(identity))

    def joiner(self) -> ChatJoiner:
        """A joiner for one completion that came as events."""
        return ChatJoiner()

    def read_long_document(
        self, content: bytes | bytearray, identity: AnswerIdentity
    ) -> Generator[None, None, ChatDocument]:
        """Read a whole completion in steps. Raises `UpstreamError` as `read_document` does."""
        return ChatDocument.read_in_steps(content, _identity(identity))

    def read_error(self, body: Mapping[str, Any]) -> UpstreamMessage | None:
        """The message of an error answer, which may have any of the usual shapes; None if it holds no words."""
        return errors.read_refusal(body)

    def refusal(self, error: RivergateError, request_id: str) -> Refusal:
        """The error as an HTTP answer, in OpenAI's envelope; the id of the request stands in a header only."""
        return Refusal(error.status, error.headers(), json_text.dumps_line(error.envelope()))


CHAT = ChatDialect()


def _identity(identity: AnswerIdentity) -> Identity:
    return Identity(f"chatcmpl-{identity.request_id}", identity.created, identity.model)
