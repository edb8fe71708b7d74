"""Pure: the parser of chat completion requests: checks a body, and takes the gateway's own fields out of it.

Only the fields that the gateway acts on are checked here. The upstream judges the rest, and a refusal reaches the
client in the upstream's words. The first fault ends the check, so that a body of faults costs no more than another.
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, ValidationError

from gateway.dialects.body_changes import BodyChanges
from gateway.dialects.chat import prompt
from gateway.dialects.extension import GATEWAY_FIELDS, ExtendedRequest, Gateway, Lenient, Models, Short
from gateway.dialects.request_body import KEPT_WHOLE_BYTES, Content, LongContent, RequestBody
from gateway.errors import InvalidParameter
from gateway.wire import json_text
from gateway.wire.json_members import Buffer

MAX_FAULT_TEXT = 300  # characters of an error message; it may quote the request
MAX_COUNT = 1_000_000_000  # tokens or choices; a larger number means as much as none
MAX_DIGITS = 10  # of a number that was sent as text
LISTS_OF_OBJECTS: tuple[str, ...] = ("messages",)
NOT_SENT = frozenset(GATEWAY_FIELDS)
_MODEL = re.compile(rb'"model"[ \t\n\r]*:[ \t\n\r]*("(?:[^"\\]++|\\.)*+")', re.DOTALL)
_LIMITS, _CHOICES = ("max_completion_tokens", "max_tokens"), ("n",)  # the members that limit an answer
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")  # by which a name can be written in another way
_OPENING_WITH_USAGE = b'{"stream_options":{"include_usage":true},'


class StreamOptions(Lenient):
    """The member `stream_options`."""

    include_usage: StrictBool | None = None


class ChatFields(BaseModel):
    """The fields of a request that the gateway acts on, beside `messages` and the numbers that limit the answer."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    model: Annotated[StrictStr, Field(min_length=1)] | None = None
    stream: StrictBool | None = None
    stream_options: Annotated[StreamOptions, Short] | None = None
    gateway: Annotated[Gateway, Short] | None = None
    routing: Annotated[dict[str, Any], Short] | None = None


ACTED_ON = (*ChatFields.model_fields, "models", "max_tokens", "max_completion_tokens", "n")


class ListedModels(BaseModel):
    """The member `models` of a request without `model`: what `gateway.models` is, in older documents of Auriko."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    models: Models


@dataclass(slots=True)  # not frozen: that would take 90 more bytecodes for each request
class ChatRequest(ExtendedRequest):
    """A checked request. `source`: the body with the model's public id and the gateway's own fields still in it."""

    streamed: bool
    asks_usage: bool  # for the usage of a stream
    max_tokens: int | None  # the limit of each choice
    choices: int
    prompt_tokens: int
    source: RequestBody
    listed: tuple[str, ...] = ()  # the member `models`, if it says which models are asked for
    has_own_models: bool = False  # the member `models` stands beside `model`: it is for the upstream
    is_extended: bool = False  # the body holds fields that do not go upstream
    drops_usage: bool = False  # the upstream is not sent `stream_options`

    def model_ids(self) -> list[str]:
        """The models asked for, first choice first; at least one."""
        return list(self.listed) if self.listed else ExtendedRequest.model_ids(self)

    def models_field(self) -> str:
        """The path of the field that names the model, for the `param` of an error."""
        return "models" if self.listed else ExtendedRequest.models_field(self)

    @property
    def body(self) -> dict[str, Any]:
        """The value of what goes upstream; of a long body, without the text that `source.unread_bytes` counts."""
        return self.source.document

    def wants_usage(self) -> bool:
        """Whether the client asked for the usage of a stream."""
        return self.asks_usage

    def max_output_tokens(self, unlimited: int) -> int:
        """The longest answer asked for, in tokens, all choices together; `unlimited` for a choice without a limit."""
        return (self.max_tokens or unlimited) * self.choices

    def estimate_prompt_tokens(self) -> int:
        """The tokens of everything that goes upstream (prompt.py)."""
        return self.prompt_tokens

    def length_tells_tokens(self) -> bool:
        """Whether the answer comes without `logprobs`, which make it many times longer than its text."""
        return not self.body.get("logprobs")

    def without_usage(self) -> "ChatRequest":
        """The request without `stream_options`, whose other members say nothing without a usage."""
        return replace(self, drops_usage=True)

    def look_for_drops(self, changes: BodyChanges) -> Iterator[None]:
        """Look in short steps for what is dropped from a long body, so that `upstream_body` takes no time for it."""
        return self.source.look_for_drops(changes)

    def upstream_body(
        self,
        model: str,
        *,
        streamed: bool,
        include_usage: bool,
        takes_models: bool = False,
        changes: BodyChanges | None = None,
    ) -> Content:
        """The body as it came, without the gateway's own fields, and with the upstream's name of the model.

        `takes_models`: the list `models` goes upstream, too. `changes` are made last.
        """
        source, place = self.source, None
        adds_usage = streamed and include_usage and not self.asks_usage
        if not (self.is_extended or changes is not None or streamed is not self.streamed):
            place = place_of_model(source, changes_options=adds_usage or self.drops_usage)
        if place is None:
            own = self._exchanged(model, streamed=streamed, adds_usage=adds_usage, takes_models=takes_models)
            return source.exchange(own) if changes is None else source.rewrite(own, changes)
        content, before = source.content, _OPENING_WITH_USAGE if adds_usage else b"{"
        start, end = place
        opening = content.index(b"{") + 1
        if len(content) <= KEPT_WHOLE_BYTES:
            return before + content[opening:start] + orjson.dumps(model) + content[end:]
        return LongContent(source, [before, (opening, start), orjson.dumps(model), (end, len(content))])

    def untaken_fields(self, *, takes_models: bool) -> list[str]:
        """The fields of the client that do not go upstream, although the gateway does not act on them either."""
        return ["models"] if self.has_own_models and not takes_models else []

    def release(self) -> None:
        """Let go of the body: no further upstream will be asked."""
        self.source.release()

    def _exchanged(
        self, model: str, *, streamed: bool, adds_usage: bool, takes_models: bool
    ) -> dict[str, bytes | None]:
        """The members that an upstream gets with other values, or not at all (None)."""
        own: dict[str, bytes | None] = dict.fromkeys(NOT_SENT)
        if takes_models and self.has_own_models:
            del own["models"]
        own["model"] = orjson.dumps(model)
        if streamed:
            own["stream"] = b"true"
        if self.drops_usage:
            own["stream_options"] = None
        if adds_usage:
            options = {**(self.body.get("stream_options") or {}), "include_usage": True}
            own["stream_options"] = json_text.dumps(options)
        return own


def place_of_model(source: RequestBody, *, changes_options: bool = False) -> tuple[int, int] | None:
    """Where the value of the member `model` stands in a short body; None if a look at its bytes leaves a doubt.

    `changes_options`: the upstream gets other `stream_options`, so the body must not hold any.
    `"model":` can be nothing but the name of a member, since a quote in a string has a backslash before it. If it
    stands there once, and no name is written in escapes, it is the member of the body itself.
    """
    content = source.content
    if source.outline is not None or content.count(b'"model"') != 1 or b"\\u00" in content:
        return None
    if (changes_options and "stream_options" in source.document) or "model" not in source.document:
        return None
    found = _MODEL.search(content)
    return None if found is None else found.span(1)


def parse(content: Buffer | RequestBody) -> ChatRequest:
    """Check a request's body. Raises `ClientError` that names the field."""
    if isinstance(content, RequestBody):
        source = content
        if (name := source.long_member(ACTED_ON)) is not None:
            raise InvalidParameter(f"{name}: is too long", param=name)
    else:
        source = RequestBody.read(content)
    document = source.document
    try:
        fields = ChatFields.model_validate(document)
    except ValidationError as error:
        raise _invalid(error) from None
    messages = document.get("messages")
    if type(messages) is not list or set(map(type, messages)) != {dict}:
        raise _fault_of_messages(document)
    return _checked(fields, source)


def _checked(fields: ChatFields, source: RequestBody) -> ChatRequest:
    document, options = source.document, fields.stream_options
    limited = "max_tokens" in document or "max_completion_tokens" in document
    request = ChatRequest(
        fields.model,
        fields.gateway,
        fields.routing,
        bool(fields.stream),
        options is not None and bool(options.include_usage),
        _largest(source, _LIMITS) if limited else None,
        _largest(source, _CHOICES) or 1 if "n" in document else 1,
        prompt.estimate(source, NOT_SENT),
        source,
    )
    if not NOT_SENT.isdisjoint(document):
        _extend(request, document)
    if fields.model is None or request.is_extended:
        request.check_models()
    return request


def _extend(request: ChatRequest, document: dict[str, Any]) -> None:
    """Note what a request says to the gateway, and take it out of what goes upstream."""
    request.is_extended = True
    request.source.document = {name: value for name, value in document.items() if name not in NOT_SENT}
    if not document.get("models"):
        return
    if request.model is not None:
        request.has_own_models = True
    elif request.gateway is None or not request.gateway.models:
        try:
            request.listed = tuple(ListedModels.model_validate(document).models)
        except ValidationError as error:
            raise _invalid(error) from None


def _fault_of_messages(document: Mapping[str, Any]) -> InvalidParameter:
    """What is wrong with messages that are no list of objects; what the objects hold is the upstream's to judge."""
    messages = document.get("messages")
    if "messages" not in document:
        return InvalidParameter("messages: is required", param="messages")
    if not isinstance(messages, list):
        return InvalidParameter("messages: Input should be a valid list", param="messages")
    if not messages:
        message = "messages: List should have at least 1 item after validation, not 0"
        return InvalidParameter(message, param="messages")
    index = next(index for index, message in enumerate(messages) if not isinstance(message, dict))
    return InvalidParameter(f"messages[{index}]: Input should be a valid dictionary", param=f"messages[{index}]")


def _largest(source: RequestBody, names: Collection[str]) -> int | None:
    """The largest of the numbers above 0 that these members have; None without one.

    Which of several limits an upstream keeps is not known, nor which member of those with one name it reads, so money
    for the longest answer is reserved.
    """
    values = [source.document.get(name) for name in names]
    content = source.content
    if sum(content.count(b'"%b"' % name.encode()) for name in names) > 1 or _ESCAPED_LETTER.search(content):
        values += [json_text.loads_numbers(content[at:end]) for name, _, at, end in source.members() if name in names]
    return max((count for value in values if (count := _count(value)) is not None), default=None)


def _count(value: Any) -> int | None:
    """A limit as the gateway understands it, a whole number above 0; None: no limit, or one for the upstream."""
    if (type(value) is float and math.isfinite(value)) or _is_short_number(value):
        value = int(value)
    return min(value, MAX_COUNT) if type(value) is int and value > 0 else None


def _is_short_number(value: Any) -> bool:
    return type(value) is str and value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS


def _invalid(error: ValidationError) -> InvalidParameter:
    fault = error.errors(include_url=False, include_input=False)[0]
    param = _path(fault["loc"])
    message = "is required" if fault["type"] == "missing" else fault["msg"].removeprefix("Value error, ")
    return InvalidParameter(f"{param}: {message}"[:MAX_FAULT_TEXT], param=param)


def _path(loc: tuple[int | str, ...]) -> str:
    """`messages[0].content` from ("messages", 0, "content"); names of union branches are left out."""
    path = ""
    for step in loc:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step.isidentifier() and step not in ("str", "float", "int", "dict", "list"):
            path += f".{step}" if path else step
    return path
