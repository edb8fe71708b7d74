"""Pure: text completions as a dialect of the gateway: `POST /v1/completions`."""

from collections.abc import Generator, Mapping
from types import MappingProxyType
from typing import Any

from gateway.dialects.choices import errors
from gateway.dialects.choices.frames import DONE
from gateway.dialects.completions import request
from gateway.dialects.completions.document import CompletionsDocument
from gateway.dialects.completions.joining import CompletionsJoiner
from gateway.dialects.completions.reader import CompletionsReader
from gateway.dialects.completions.repair import TextMembers
from gateway.dialects.dialect import AnswerIdentity, AnswerKeeping, Refusal, UpstreamMessage
from gateway.dialects.learned_shape import AnswerMemory
from gateway.dialects.request_body import BodyReading, RequestBody
from gateway.dialects.text_input import InputReading
from gateway.errors import RivergateError
from gateway.wire import json_text, sse
from gateway.wire.json_members import Buffer


class CompletionsDialect:
    """The dialect of OpenAI's text completions, by which prompts are continued."""

    name = speaks = "completions"
    streams = True
    path = "/v1/completions"
    upstream_path = "/completions"
    forwarded: Mapping[str, str | None] = MappingProxyType({})
    forwards_query = False
    id_field: str | None = None
    keeping: AnswerKeeping | None = None
    operation = "text_completion"
    keepalive = sse.KEEPALIVE
    terminal = DONE

    def begin_reading(self, content: Buffer) -> BodyReading:
        """Begin to read a long body in steps."""
        return InputReading(content, request.PROMPT)

    def parse(self, content: Buffer | RequestBody) -> request.CompletionsRequest:
        """Check a request's body. Raises `ClientError` that names the field."""
        return request.parse(content)

    def reader(self, identity: AnswerIdentity, memory: AnswerMemory | None = None) -> CompletionsReader:
        """A reader for one streamed completion."""
        return CompletionsReader(_shared(identity), memory)

    def read_document(self, content: bytes | bytearray, identity: AnswerIdentity) -> CompletionsDocument:
        """Read a whole completion. Raises `UpstreamError` if the content is no completion, or an error object."""
        return CompletionsDocument.read(content, _shared(identity))

    def joiner(self) -> CompletionsJoiner:
        """A joiner for one completion that came as events."""
        return CompletionsJoiner()

    def read_long_document(
        self, content: bytes | bytearray, identity: AnswerIdentity
    ) -> Generator[None, None, CompletionsDocument]:
        """Read a whole completion in steps. Raises `UpstreamError` as `read_document` does."""
        return CompletionsDocument.read_in_steps(content, _shared(identity))

    def read_error(self, body: Mapping[str, Any]) -> UpstreamMessage | None:
        """The message of an error answer, which may have any of the usual shapes; None if it holds no words."""
        return errors.read_refusal(body)

    def refusal(self, error: RivergateError, request_id: str) -> Refusal:
        """The error as an HTTP answer, in OpenAI's envelope; the id of the request stands in a header only."""
        return Refusal(error.status, error.headers(), json_text.dumps_line(error.envelope()))


COMPLETIONS = CompletionsDialect()


def _shared(identity: AnswerIdentity) -> TextMembers:
    answer_id = f"cmpl-{identity.request_id}"
    return TextMembers(answer_id, identity.created, identity.model, echoed_bytes=identity.echoed_bytes)
