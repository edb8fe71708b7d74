"""Pure: the parser of requests for text completions: checks a body, and takes the gateway's own fields out of it.

Only the fields that the gateway acts on are checked here. The upstream judges the rest, and a refusal reaches the
client in the upstream's words. The first fault ends the check, so that a body of faults costs no more than another.
"""

from dataclasses import dataclass

from gateway.dialects.choices.request import ChoicesFields, ChoicesRequest
from gateway.dialects.relayed_request import NOT_SENT, checked_fields, read_source
from gateway.dialects.request_body import RequestBody
from gateway.dialects.request_fields import largest_count
from gateway.dialects.text_input import check_input, count_input
from gateway.wire.json_members import Buffer

PROMPT = "prompt"
_LIMITS = ("max_tokens", "max_completion_tokens", "n_predict")  # the members that limit an answer
_ALTERNATIVES = ("n", "best_of")  # what is generated for each prompt is the larger of both
_PARAMETERS = frozenset(
    (
        *("model", "stream", "stream_options", "seed", "user", "echo", "logprobs", "service_tier", "min_p"),
        *("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "repetition_penalty"),
        *_LIMITS,
        *_ALTERNATIVES,
    )
)
ACTED_ON = (*ChoicesFields.model_fields, "models", *_LIMITS, *_ALTERNATIVES)


_ECHOING = (["echo", PROMPT], ["echo", "n", PROMPT])  # the members of which the bytes of an echo follow
_MAX_ECHO_BYTES = 1 << 20  # of a longer prompt it takes more than a millisecond to count the escapes


@dataclass(slots=True)
class CompletionsRequest(ChoicesRequest):
    """A checked request for a text completion; its `choices` are those of all prompts."""

    echoed_bytes: int = 0

    def max_output_tokens(self, unlimited: int) -> int:
        """The longest answer asked for, in tokens; none where the prompt alone is wanted back."""
        return 0 if self._wants_prompt_alone() else ChoicesRequest.max_output_tokens(self, unlimited)

    def length_tells_tokens(self) -> bool:
        """Whether the answer comes without probabilities, and without the prompt, which are no tokens of its own."""
        return not (self.body.get("logprobs") or self.body.get("echo"))

    def _wants_prompt_alone(self) -> bool:
        """Whether the only limit is that of no tokens behind the prompt, as of who asks for its probabilities.

        Without an echo, some upstreams take such a limit for none.
        """
        limit = self.body.get("max_tokens")
        if type(limit) is not int or limit or self.body.get("echo") is not True:
            return False
        return _names(self.source, "echo", *_LIMITS) == ["echo", "max_tokens"]


def parse(content: Buffer | RequestBody) -> CompletionsRequest:
    """Check a request's body. Raises `ClientError` that names the field."""
    source = read_source(content, ACTED_ON)
    document = source.document
    fields = checked_fields(ChoicesFields, document)
    check_input(document, PROMPT)
    found, options = count_input(source, PROMPT, _PARAMETERS), fields.stream_options
    is_extended = not NOT_SENT.isdisjoint(document)
    request = CompletionsRequest(
        fields.model,
        fields.gateway,
        fields.routing,
        bool(fields.stream),
        largest_count(source, _LIMITS),
        found.tokens,
        source,
        is_extended,
        options is not None and bool(options.include_usage),
        found.texts * (largest_count(source, _ALTERNATIVES) or 1),
        echoed_bytes=_echoed_bytes(source) if "echo" in document else 0,
    )
    if is_extended:
        request.extend(document)
    if fields.model is None or is_extended:
        request.check_models()
    return request


def _echoed_bytes(source: RequestBody) -> int:
    """The bytes of the prompt before all choices; 0 where a member stands twice, so that no upstream repeats less.

    Tokens count as they are written, and a text that is written in escapes counts too few.
    """
    document, content = source.document, source.content
    if document.get("echo") is not True or _names(source, "echo", PROMPT, "n") not in _ECHOING:
        return 0
    (member,) = (each for each in source.members() if each.name == PROMPT)
    if member.end - member.start > _MAX_ECHO_BYTES:
        return 0
    text = bytes(content[member.start : member.end])
    size = max(len(text) - text.count(b"\\") - 4 * text.count(b"\\u") - 2, 0)
    return size * (largest_count(source, ("n",)) or 1)


def _names(source: RequestBody, *wanted: str) -> list[str]:
    """The names of those members that are wanted, sorted, each as often as it stands there."""
    return sorted(member.name for member in source.members() if member.name in wanted)
