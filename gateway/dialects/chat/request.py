"""Pure: the parser of chat completion requests: checks a body, and takes the gateway's own fields out of it.

Only the fields that the gateway acts on are checked here. The upstream judges the rest, and a refusal reaches the
client in the upstream's words. The first fault ends the check, so that a body of faults costs no more than another.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, ValidationError

from gateway.dialects.body_changes import BodyChanges
from gateway.dialects.chat import prompt
from gateway.dialects.extension import GATEWAY_FIELDS, ExtendedRequest, Gateway, Lenient, Models, Short
from gateway.dialects.request_body import Content, RequestBody
from gateway.errors import InvalidParameter
from gateway.wire import json_text
from gateway.wire.json_members import Buffer

MAX_FAULT_TEXT = 300  # characters of an error message; it may quote the request
MAX_COUNT = 1_000_000_000  # tokens or choices; a larger number means as much as none
MAX_DIGITS = 10  # of a number that was sent as text
LISTS_OF_OBJECTS: tuple[str, ...] = ("messages",)
NOT_SENT = frozenset(GATEWAY_FIELDS)
_MODEL = re.compile(rb'"model"[ \t\n\r]*:[ \t\n\r]*("(?:[^"\\]++|\\.)*+")', re.DOTALL)
_USAGE = b'"stream_options":{"include_usage":true},'


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


@dataclass(frozen=True, slots=True)
class ChatRequest(ExtendedRequest):
    """A checked request. `source`: the body with the model's public id and the gateway's own fields still in it."""

    streamed: bool
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
        return list(self.listed) or ExtendedRequest.model_ids(self)

    def models_field(self) -> str:
        """The path of the field that names the model, for the `param` of an error."""
        return "models" if self.listed else ExtendedRequest.models_field(self)

    @property
    def body(self) -> dict[str, Any]:
        """The value of what goes upstream; of a long body, without the text that `source.unread_bytes` counts."""
        return self.source.document

    def wants_usage(self) -> bool:
        """Whether the client asked for the usage of a stream."""
        return bool((self.body.get("stream_options") or {}).get("include_usage"))

    def max_output_tokens(self, unlimited: int) -> int:
        """The longest answer asked for, in tokens, all choices together; `unlimited` for a choice without a limit."""
        limit = self.max_tokens if self.max_tokens and self.max_tokens > 0 else unlimited
        return limit * self.choices

    def estimate_prompt_tokens(self) -> int:
        """The tokens of everything that goes upstream (prompt.py)."""
        return self.prompt_tokens

    def length_tells_tokens(self) -> bool:
        """Whether the answer comes without `logprobs`, which make it many times longer than its text."""
        return not self.body.get("logprobs")

    def without_usage(self) -> "ChatRequest":
        """The request without `stream_options`, whose other members say nothing without a usage."""
        return replace(self, drops_usage=True)

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
        source, document = self.source, self.source.document
        wants_usage = streamed and include_usage and not self.wants_usage()
        edits_options = (wants_usage or self.drops_usage) and "stream_options" in document
        if changes is None and self._is_plain(streamed) and not edits_options:
            return self._plain_body(model, wants_usage=wants_usage)
        own: dict[str, bytes | None] = dict.fromkeys(NOT_SENT)
        if takes_models and self.has_own_models:
            del own["models"]
        own["model"] = json_text.dumps(model)
        if streamed:
            own["stream"] = b"true"
        if self.drops_usage:
            own["stream_options"] = None
        if wants_usage:
            options = {**(document.get("stream_options") or {}), "include_usage": True}
            own["stream_options"] = json_text.dumps(options)
        return source.exchange(own) if changes is None else source.rewrite(own, changes)

    def untaken_fields(self, *, takes_models: bool) -> list[str]:
        """The fields of the client that do not go upstream, although the gateway does not act on them either."""
        return ["models"] if self.has_own_models and not takes_models else []

    def release(self) -> None:
        """Let go of the body: no further upstream will be asked."""
        self.source.release()

    def _is_plain(self, streamed: bool) -> bool:
        """Whether all that has to be changed is the value of `model`, and where that stands is beyond doubt.

        `"model":` can be nothing but the name of a member, since a quote in a string has a backslash before it. If it
        stands there once, and no name is written in escapes, it is the member of the body itself.
        """
        content, document = self.source.content, self.source.document
        return (
            not (self.is_extended or self.source.has_places)
            and self.model is not None
            and (not streamed or document.get("stream") is True)
            and content.count(b'"model"') == 1
            and b"\\u00" not in content
        )

    def _plain_body(self, model: str, *, wants_usage: bool) -> Content:
        source = self.source
        content, length = source.content, len(source.content)
        found = _MODEL.search(content)
        assert found is not None
        opening = content.index(b"{") + 1
        before: bytes = b"{" + _USAGE if wants_usage else b"{"
        start, end = found.span(1)
        return source.content_of([before, (opening, start), json_text.dumps(model), (end, length)])


def parse(content: Buffer | RequestBody) -> ChatRequest:
    """Check a request's body. Raises `ClientError` that names the field."""
    source = content if isinstance(content, RequestBody) else RequestBody.read(content)
    document = source.document
    if (name := source.long_member(ACTED_ON)) is not None:
        raise InvalidParameter(f"{name}: is too long", param=name)
    try:
        fields = ChatFields.model_validate(document)
        _check_messages(document)
        listed = _listed_models(fields, document)
    except ValidationError as error:
        raise _invalid(error) from None
    return _checked(fields, listed, source)


def _checked(fields: ChatFields, listed: tuple[str, ...], source: RequestBody) -> ChatRequest:
    document = source.document
    has_own_models = bool(document.get("models")) and fields.model is not None
    is_extended = not NOT_SENT.isdisjoint(document)
    own: dict[str, Any] = {}
    if is_extended:
        own = {name: value for name, value in document.items() if name in NOT_SENT}
        source.document = document = {name: value for name, value in document.items() if name not in NOT_SENT}
    request = ChatRequest(
        model=fields.model,
        gateway=fields.gateway,
        routing=fields.routing,
        streamed=bool(fields.stream),
        # Which of two limits an upstream keeps is not known, so money for the longer answer is reserved.
        max_tokens=max(_count(document.get("max_completion_tokens")) or 0, _count(document.get("max_tokens")) or 0)
        or None,
        choices=_count(document.get("n")) or 1,
        prompt_tokens=prompt.estimate(document, source.content, own),
        source=source,
        listed=listed,
        has_own_models=has_own_models,
        is_extended=is_extended,
    )
    request.check_models()
    return request


def _listed_models(fields: ChatFields, document: Mapping[str, Any]) -> tuple[str, ...]:
    """The models of the member `models`, if nothing else names one. Raises `ValidationError`."""
    if fields.model is not None or document.get("models") is None:
        return ()
    if fields.gateway is not None and fields.gateway.models:
        return ()
    return tuple(ListedModels.model_validate(document).models)


def _check_messages(document: Mapping[str, Any]) -> None:
    """Refuse messages that are no list of objects; what the objects hold is the upstream's to judge."""
    messages = document.get("messages")
    if type(messages) is list and set(map(type, messages)) == {dict}:
        return
    if "messages" not in document:
        raise InvalidParameter("messages: is required", param="messages")
    if not isinstance(messages, list):
        raise InvalidParameter("messages: Input should be a valid list", param="messages")
    if not messages:
        message = "messages: List should have at least 1 item after validation, not 0"
        raise InvalidParameter(message, param="messages")
    index = next(index for index, message in enumerate(messages) if not isinstance(message, dict))
    raise InvalidParameter(f"messages[{index}]: Input should be a valid dictionary", param=f"messages[{index}]")


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
