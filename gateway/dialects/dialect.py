"""Pure: what the gateway has to know of one API to relay its answers: the seam behind which every dialect stands.

In: bytes of requests and answers in the dialect's own shape. Out: what they mean to the gateway, in words that are
the same for all dialects. The gateway never translates: a frame is the block that came, repaired at most.

What is a dialect's business and nobody else's: the path, the checks of a request, which event is content, where usage
stands, the envelope of an error, the frames of a break, the bytes that keep a connection alive or end it.
A new dialect is a package beside `chat/` and a line in `registry.py`; gateway/README.md has the steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.dialects.extension import StreamPolicy
from gateway.dialects.learned_shape import Counts, LearnedShape
from gateway.dialects.usage import Usage
from gateway.errors import RivergateError


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one block means to the relay.

    `frame`: the bytes for subscribers, `event:` line and all; None: they get nothing of this block.
    `content`: what a client waits for is in it: the frames before it are held until then, and fallback ends here.
    `finish`: the upstream said why it stopped; it counts as content, and may be held back to carry the usage.
    `done`: the terminal event. Its frame, if it has one, is relayed; nothing after it is read.
    `error`: what is wrong, in our words; the attempt is over and `frame` is not relayed.
    `quoted`: the same in the upstream's words, "" if it was not the upstream that said so.
    """

    frame: bytes | None = None
    content: bool = False
    finish: bool = False
    done: bool = False
    error: str | None = None
    quoted: str = ""


@dataclass(frozen=True, slots=True)
class AnswerIdentity:
    """What an answer is called where its upstream does not say; `created`: Unix seconds, `model`: the public id."""

    request_id: str
    created: int
    model: str


@dataclass(frozen=True, slots=True)
class AnswerReport:
    """What a client is told at the end of its answer: the tokens, and `routing_metadata` (DESIGN.md section 5)."""

    usage: Usage
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UpstreamMessage:
    """What an upstream says of its error, cut to `MAX_ERROR_TEXT` characters; `code` and `param` as it gave them."""

    text: str
    code: Any = None
    param: Any = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as an HTTP answer: what a client gets that no frame was sent to yet. `body` is JSON."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class DialectRequest(Protocol):
    """One request, checked: what the gateway acts on. It holds what goes upstream, not the bytes that came."""

    @property
    def streamed(self) -> bool:
        """Whether the client asked for a stream."""

    def model_ids(self) -> list[str]:
        """The models asked for, first choice first; at least one."""

    def models_field(self) -> str:
        """The path of the field to blame for a wrong model, as `param` of an error has it."""

    def routing_options(self) -> dict[str, Any]:
        """The routing options (CONTRACT.md 1.3), unchecked; {} if there are none."""

    def routing_field(self) -> str:
        """The path of the field to blame for a wrong option."""

    def stream_policy(self) -> StreamPolicy:
        """What shall become of this stream without subscribers."""

    def wants_usage(self) -> bool:
        """Whether the client asked for the usage of a stream."""

    def max_output_tokens(self) -> int | None:
        """The longest answer asked for, in tokens, all alternatives together; None: the request does not say."""

    def estimate_prompt_tokens(self) -> int:
        """The tokens of the prompt, by the length of its text."""

    def length_tells_tokens(self) -> bool:
        """Whether the length of a whole answer says how many tokens it has; not so if probabilities are asked for."""

    def upstream_body(self, model: str, *, streamed: bool, include_usage: bool) -> bytes:
        """The body for an upstream, with the model's name there. `include_usage`: it may be asked for the usage."""


class DialectReader(Protocol):
    """Reads the blocks of one streamed answer, in order. `shape.fit` is the short way, `read` the full one after it.

    The reader lets the shape learn from what it read, and both add to `counts`.
    """

    shape: LearnedShape
    counts: Counts
    unfinished: str  # what a body that ends too early came without, in words: "neither a finish nor [DONE]"

    @property
    def finished(self) -> bool:
        """Whether the answer is whole as it stands: the body may end without a terminal event."""

    def read(self, block: bytes) -> Meaning:
        """What a block means: the bytes of one event up to its blank line. Never raises."""

    def is_terminal(self, rest: bytes) -> bool:
        """Whether the last bytes of a body, which lack their blank line, are the terminal event without a frame."""

    def usage(self, prompt_tokens: int) -> Usage:
        """The tokens so far: the upstream's counts as far as it gave them, else ours, `prompt_tokens` among them."""

    def closing_frames(self, report: AnswerReport | None, finish_frame: bytes | None) -> list[bytes]:
        """The frames between the last event and `Dialect.terminal`, once the answer is whole.

        `report`: what to tell the client, if the dialect has a place for it; None: nothing.
        `finish_frame`: the frame of the finish, if it was held back to carry the report; it has to be among them.
        """

    def break_frames(self, error: RivergateError) -> list[bytes]:
        """The frames that end a stream which breaks off here, in whichever state; read by clients as an error."""


class AnswerDocument(Protocol):
    """A whole answer, not streamed, read and made fit for strict clients."""

    def usage(self, prompt_tokens: int) -> Usage:
        """The upstream's counts, else ours, `prompt_tokens` among them."""

    def encode(self, report: AnswerReport) -> bytes:
        """The JSON for the client, with what of the report the dialect has a place for. Raises `ValueError`."""


class Dialect(Protocol):
    """One API, as a value without state: see the module."""

    name: str  # in records, in the JSON of a stream, in configurations: "chat"
    path: str  # that clients post to: "/v1/chat/completions"
    upstream_path: str  # the same behind an upstream's `base_url`: "/chat/completions"
    operation: str  # `gen_ai.operation.name` of OpenTelemetry's conventions: "chat"
    keepalive: bytes  # the frame for a subscriber that waits, also before the first event
    terminal: bytes  # the frame behind the last one, breaks included; b"": the end of the body says it

    def parse(self, content: bytes) -> DialectRequest:
        """Check a request's body. Raises `ClientError` that names the field."""

    def reader(self, identity: AnswerIdentity) -> DialectReader:
        """A reader for one streamed answer, which has seen nothing yet."""

    def read_document(self, content: bytes | bytearray, identity: AnswerIdentity) -> AnswerDocument:
        """Read a whole answer of status 2xx. Raises `UpstreamError` if it is none, or is an error after all."""

    def read_error(self, body: Mapping[str, Any]) -> UpstreamMessage | None:
        """What the JSON object of an error answer says, in whichever of the usual shapes; None: no error is in it."""

    def refusal(self, error: RivergateError, request_id: str) -> Refusal:
        """An error as the answer to a request, in the dialect's envelope."""


@dataclass(frozen=True, slots=True)
class CheckedRequest:
    """A request that its dialect has checked, and the bytes that it came as."""

    dialect: Dialect
    request: DialectRequest
    content: bytes


def check(dialect: Dialect, content: bytes) -> CheckedRequest:
    """Check a request's body by its dialect. Raises `ClientError` that names the field."""
    return CheckedRequest(dialect, dialect.parse(content), content)
