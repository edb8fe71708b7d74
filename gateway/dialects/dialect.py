"""Pure: the seam of dialects: what the gateway has to know of one API to relay its answers.

In: bytes of requests and answers in the dialect's own shape. Out: their meaning, in values that all dialects share.
The gateway never translates: a frame is the block that came, repaired at most.

Only a dialect knows the path, the checks of a request, which event is content, where usage stands, the envelope of an
error, the frames of a break, and the bytes that keep a connection alive or end it. A new dialect is a package beside
`chat/` and a line in `registry.py`; gateway/README.md has the steps.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from gateway.dialects.body_changes import BodyChanges
from gateway.dialects.extension import StreamPolicy
from gateway.dialects.learned_shape import AnswerMemory, Counts, LearnedShape
from gateway.dialects.request_body import BodyReading, Content, RequestBody
from gateway.dialects.usage import Usage
from gateway.errors import RivergateError, UpstreamError
from gateway.wire.json_members import Buffer
from gateway.wire.json_pieces import LongText


@dataclass(frozen=True, slots=True)
class UpstreamMessage:
    """An upstream's message about an error, with its own `code`, `param` and `kind` (its `type` or `status`).

    `details`: what else its error object says, under its own keys. `refuses_usage`: the message refuses the field by
    which the gateway asks for the usage of a stream. Nothing in it is redacted yet.
    """

    text: str
    code: Any = None
    param: Any = None
    details: Mapping[str, Any] = field(default_factory=dict)
    kind: str = ""
    refuses_usage: bool = False


class ReportedFailure(UpstreamError):
    """A failure that an upstream reports inside of an answer, of which `told` is what it says."""

    log_code = UpstreamError.code

    told = UpstreamMessage("")

    @classmethod
    def of(cls, told: UpstreamMessage, code: str | None = None) -> "ReportedFailure":
        """The failure of which an upstream says this. `code`: what the client gets instead of `upstream_error`."""
        failure = cls("the upstream reported an error", quoted=told.text, code=code)  # such errors can be copied
        failure.told = told
        failure.quote_details(told.details)
        return failure


class Meaning(NamedTuple):
    """What one block means to the relay.

    `frame`: the bytes for subscribers, `event:` line included; None: they get nothing of this block.
    `content`: the block holds what a client waits for: held frames are sent now, and no fallback happens any more.
    `finish`: the upstream said why it stopped; a finish counts as content, and may be held back to carry the usage.
    `done`: the block is the terminal event. Its frame, if it has one, is relayed; nothing after it is read.
    `error`: what is wrong, in the gateway's words; the attempt is over and `frame` is not relayed.
    `told`: the upstream's own message about the error; None if the gateway found the error itself.
    """

    frame: bytes | None = None
    content: bool = False
    finish: bool = False
    done: bool = False
    error: str | None = None
    told: UpstreamMessage | None = None


class AnswerIdentity(NamedTuple):
    """The id, time and model that an answer gets where its upstream names none.

    `created` is in Unix seconds; `model` is the public id. `echoed_bytes`: of the prompt, with which the answer
    begins; they are no tokens of its own.
    """

    request_id: str
    created: int
    model: str
    echoed_bytes: int = 0


@dataclass(frozen=True, slots=True)
class AnswerReport:
    """What a client is told at the end of its answer: the usage, and `metadata`, the object `routing_metadata`."""

    usage: Usage
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as an HTTP answer, for a client that was not sent any frame yet. `body` is JSON."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class DialectRequest(Protocol):
    """One checked request: the fields that the gateway acts on, and what goes upstream, not the bytes that came."""

    @property
    def streamed(self) -> bool:
        """Whether the client asked for a stream."""

    def model_ids(self) -> list[str]:
        """The models asked for, first choice first; at least one."""

    def only_model(self) -> str | None:
        """The model asked for, if that is all that the request says to the gateway; else None."""

    def models_field(self) -> str:
        """The path of the field that names the model, for the `param` of an error."""

    def routing_options(self) -> dict[str, Any]:
        """The routing options, not checked yet; {} if there are none."""

    def routing_field(self) -> str:
        """The path of the field that holds the routing options, for the `param` of an error."""

    def stream_policy(self) -> StreamPolicy:
        """The policy for this stream when it has no subscribers."""

    def previous_answer(self) -> str | None:
        """The id of the answer that this request goes on from, at the same upstream; None: it begins anew."""

    def conversation(self) -> str | None:
        """The id of the conversation that this request belongs to, which one upstream keeps; None: it names none."""

    def add_context(self, tokens: int) -> None:
        """Count these tokens to the prompt: the upstream reads them again, although they are not in the body."""

    def wants_usage(self) -> bool:
        """Whether the client asked for the usage of a stream."""

    def max_output_tokens(self, unlimited: int) -> int:
        """The longest answer asked for, in tokens, all alternatives together.

        `unlimited` counts for each alternative to which the request sets no limit.
        """

    def estimate_prompt_tokens(self) -> int:
        """The tokens of everything that goes upstream: it is reserved, and billed where no provider counts better."""

    @property
    def echoed_bytes(self) -> int:
        """The bytes of the prompt that the answer repeats, in all alternatives together; 0: it repeats none."""

    def length_tells_tokens(self) -> bool:
        """Whether the number of tokens follows from the length of a whole answer; false if it has probabilities."""

    def without_usage(self) -> "DialectRequest":
        """The same request without the field that asks for the usage, for an upstream that refuses the field."""

    def look_for_drops(self, changes: BodyChanges) -> Iterator[None]:
        """Look in short steps for what is dropped from a long body, so that `upstream_body` takes no time for it."""

    def upstream_body(
        self,
        model: str,
        *,
        streamed: bool,
        include_usage: bool,
        takes_models: bool = False,
        changes: BodyChanges | None = None,
    ) -> Content:
        """The body for an upstream, which calls the model `model`.

        `include_usage`: the upstream is to send usage. `takes_models`: it takes a list of models beside the model.
        `changes` are made last; None: the upstream takes the fields as they are.
        """

    def untaken_fields(self, *, takes_models: bool) -> list[str]:
        """The client's fields that did not go upstream and were not acted on: the client is warned of them."""

    def release(self) -> None:
        """Let go of the body, since no further upstream will be asked. Idempotent."""


class DialectReader(Protocol):
    """Reads the blocks of one streamed answer, in order: each by `shape.fit`, or by `read` if it fits no shape.

    The reader lets the shape learn from what it read, and both add to `counts`.
    """

    counts: Counts
    unfinished: str  # says in words what is missing of a body that ends too early: "neither a finish nor [DONE]"

    @property
    def shape(self) -> LearnedShape:
        """What finds the frames of events that differ from earlier ones in their text only."""

    @property
    def finished(self) -> bool:
        """Whether the answer is whole as it stands: the body may end without a terminal event."""

    @property
    def last_words(self) -> UpstreamMessage | None:
        """What the upstream said that was no event, if nothing came after it: perhaps why the answer breaks off."""

    def read_beginning(self, data: bytes) -> tuple[list[bytes], int] | None:
        """The frames of the events with which answers of this upstream begin, as far as a read begins with them.

        With the frames comes their length in the read, which has to be cut into blocks from there on. The events
        count as read. A frame with content is the last one. None: the read begins in another way.
        """

    def read_rest(self, data: bytes) -> bytes | None:
        """The finish in a read that is all the rest of the answer, as it was in an earlier answer of this upstream.

        All events of the read count as read, its terminal event too. None: the read is something else.
        """

    def read(self, block: bytes) -> Meaning:
        """The meaning of a block: of the bytes of one event, its blank line included. Never raises."""

    def read_in_steps(self, block: bytes) -> Generator[None, None, Meaning]:
        """The meaning of a long block, found in steps of some milliseconds. Never raises."""

    def is_terminal(self, rest: bytes) -> bool:
        """Whether the last bytes of a body, which lack their blank line, are the terminal event without a frame."""

    def usage(self, prompt_tokens: int) -> Usage:
        """The tokens so far: as the upstream counts them, else our own estimate, which contains `prompt_tokens`."""

    def closing_frames(self, report: AnswerReport | None, finish_frame: bytes | None) -> list[bytes]:
        """The frames between the last event and `Dialect.terminal`, once the answer is whole.

        `report`: what to tell the client, if the dialect has a place for it; None: nothing.
        `finish_frame`: the frame of the finish, if it was held back to carry the report; the result has to hold it.
        """

    def break_frames(self, error: RivergateError) -> list[bytes]:
        """The frames that end a stream which breaks off, at any point; clients read them as an error."""


class AnswerDocument(Protocol):
    """A whole answer that was not streamed, repaired for strict clients."""

    def usage(self, prompt_tokens: int) -> Usage:
        """The tokens: as the upstream counts them, else our own estimate, which contains `prompt_tokens`."""

    def encode(self, report: AnswerReport) -> bytes | LongText:
        """The JSON for the client, with the parts of the report that the dialect has a place for.

        Raises `ValueError` if it is nested too deeply.
        """


class AnswerJoiner(Protocol):
    """Joins the frames of one streamed answer to the whole answer that they tell."""

    def add(self, frame: bytes) -> None:
        """Add the next frame of the dialect's reader. Raises `ValueError` if the answer is too much."""

    def add_in_steps(self, frame: bytes) -> Iterator[None]:
        """Add the next frame, a long one, in steps of some milliseconds. Raises `ValueError` as `add` does."""

    def document(self, usage: Callable[[int], Usage]) -> AnswerDocument:
        """The whole answer. `usage`: the reader's, which its document tells."""


class AnswerKeeping(Protocol):
    """What is known of answers that clients ask for again, or go on from, by the ids that upstreams gave them."""

    def answer_id(self, first: bytes) -> str | None:
        """The id in the first frame of a stream, or in the first bytes of a whole answer; None: it has none."""

    def conversation_id(self, first: bytes) -> str | None:
        """The id of the answer's conversation in the same bytes; None: it tells of none."""

    def number(self, frame: bytes) -> int | None:
        """The number that the frame's event has in its answer; None: it has none."""

    def retold(self, frames: Sequence[bytes]) -> Generator[None, None, bytes | LongText | None]:
        """The JSON of the answer as far as its frames tell it, in short steps; None: they do not tell it.

        `frames`: the first and the last one of a stream that has ended, or all so far of one that runs.
        """

    def told_by_upstream(
        self, content: Buffer, redact: Callable[[RivergateError], None]
    ) -> Generator[None, None, bytes | LongText]:
        """The JSON of the answer as its upstream keeps it, in short steps; `redact` takes secrets out of an error.

        Raises `UpstreamError` if what the upstream tells is no JSON object, or an error.
        """


class Dialect(Protocol):
    """One API, as a value without state."""

    name: str  # its name in records and in the JSON of a stream: "chat"
    speaks: str  # the word in the `dialects` of an upstream that serves it: "chat"
    streams: bool  # whether an answer may be streamed
    path: str  # the path that clients post to: "/v1/chat/completions"
    upstream_path: str  # the path behind an upstream's `base_url`: "/chat/completions"
    # The client's header fields that go upstream as they came, in lower case, each with what is sent where the client
    # sends none; None: nothing.
    forwarded: Mapping[str, str | None]
    forwards_query: bool  # the query of the client's request goes upstream as it came
    id_field: str | None  # the header field beside `x-request-id` that tells the request's id; None: there is none
    keeping: "AnswerKeeping | None"  # None: clients never ask for an answer again
    operation: str  # the `gen_ai.operation.name` of OpenTelemetry's conventions: "chat"
    keepalive: bytes  # the frame for a subscriber that waits, also before the first event
    terminal: bytes  # the frame that ends every stream, also a broken one; b"": the end of the body ends it

    def begin_reading(self, content: Buffer) -> BodyReading:
        """Begin to read the body of a request in steps: a body that takes too long to be read at once."""

    def parse(self, content: Buffer | RequestBody) -> DialectRequest:
        """Check a request's body, as bytes or already read. Raises `ClientError` that names the field."""

    def reader(self, identity: AnswerIdentity, memory: AnswerMemory | None = None) -> DialectReader:
        """A reader for one streamed answer, which has seen nothing yet.

        `memory`: of the same upstream and model, which readers of earlier answers have written; None: there is none.
        """

    def read_document(self, content: bytes | bytearray, identity: AnswerIdentity) -> AnswerDocument:
        """Read a whole answer of status 2xx. Raises `UpstreamError` if the content is an error, or no answer."""

    def joiner(self) -> AnswerJoiner:
        """A joiner for one answer that came as events, although a whole one was asked for."""

    def read_long_document(
        self, content: bytes | bytearray, identity: AnswerIdentity
    ) -> Generator[None, None, AnswerDocument]:
        """Read a long answer as `read_document` does, in steps of some milliseconds. Raises `UpstreamError`."""

    def read_error(self, body: Mapping[str, Any]) -> UpstreamMessage | None:
        """The message in the JSON object of an error answer, in any of the usual shapes; None: it holds no words."""

    def refusal(self, error: RivergateError, request_id: str) -> Refusal:
        """An error as the answer to a request, in the dialect's envelope."""


class CheckedRequest(NamedTuple):
    """A request that its dialect has checked, with the bytes of its body as they came."""

    dialect: Dialect
    request: DialectRequest
    content: Buffer
    digest: bytes = b""  # the SHA-256 of `content`, if that was computed already


def check(dialect: Dialect, content: Buffer) -> CheckedRequest:
    """Check a short body by its dialect. Raises `ClientError` that names the field."""
    return CheckedRequest(dialect, dialect.parse(content), content)
