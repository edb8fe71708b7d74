"""Pure: the counting of a prompt's tokens as a dialect: `POST /v1/messages/count_tokens`.

It has the requests, errors and names of `messages/`, and an answer of its own, which costs nothing and is never
streamed.
"""

from collections.abc import Generator, Mapping

from gateway.dialects.count_tokens.answer import CountDocument, read_document
from gateway.dialects.dialect import AnswerIdentity, AnswerKeeping
from gateway.dialects.learned_shape import AnswerMemory
from gateway.dialects.messages import errors, request
from gateway.dialects.messages.dialect import MESSAGES
from gateway.dialects.request_body import BodyReading, RequestBody
from gateway.dialects.whole_only import NoEventsJoiner, NoEventsReader
from gateway.wire.json_members import Buffer


class CountTokensDialect:
    """The dialect of Anthropic's counting of tokens."""

    name = "count_tokens"
    speaks = MESSAGES.speaks
    streams = False
    path = "/v1/messages/count_tokens"
    upstream_path = "/messages/count_tokens"
    operation = "count_tokens"
    forwarded: Mapping[str, str | None] = MESSAGES.forwarded
    forwards_query = True
    id_field: str | None = MESSAGES.id_field
    keeping: AnswerKeeping | None = None
    keepalive = MESSAGES.keepalive
    terminal = b""
    read_error = staticmethod(MESSAGES.read_error)
    refusal = staticmethod(MESSAGES.refusal)

    def begin_reading(self, content: Buffer) -> BodyReading:
        """Begin to read a long body in steps."""
        return BodyReading(content, request.LISTS_OF_OBJECTS)

    def parse(self, content: Buffer | RequestBody) -> request.CountRequest:
        """Check a request's body. Raises `ClientError` that names the field."""
        return request.parse_count(content)

    def reader(self, identity: AnswerIdentity, memory: AnswerMemory | None = None) -> NoEventsReader:
        """A reader that refuses events."""
        return NoEventsReader(errors.read_event_error)

    def read_document(self, content: bytes | bytearray, identity: AnswerIdentity) -> CountDocument:
        """Read an answer. Raises `UpstreamError` if it is no count, or an error object."""
        return read_document(content)

    def joiner(self) -> NoEventsJoiner:
        """A joiner that refuses events."""
        return NoEventsJoiner()

    def read_long_document(
        self, content: bytes | bytearray, identity: AnswerIdentity
    ) -> Generator[None, None, CountDocument]:
        """Read a long answer, which is no count. Raises `UpstreamError`."""
        yield
        return read_document(content)


COUNT_TOKENS = CountTokensDialect()
