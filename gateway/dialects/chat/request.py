"""Pure: a completion request, checked and taken apart: what goes upstream, what is for the gateway.

Only what the gateway acts on, and the plain types of the well-known fields, are checked here; the rest is the
upstream's to judge, and its refusal reaches the client in its words.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError

from gateway.errors import ClientError, InvalidParameter

MAX_FAULT_TEXT = 300  # characters of a fault's description; it may quote the request

MAX_DEPTH = 254  # what can be written again for an upstream

Number = StrictFloat | StrictInt
Count = Annotated[StrictInt, Field(ge=1)]


class _Lenient(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)


class StreamOptions(_Lenient):
    include_usage: StrictBool | None = None


class StreamPolicy(BaseModel):
    """`gateway.stream`: what becomes of this one stream without readers; unset is as configured."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    on_last_reader: Literal["abort", "drain"] | None = None
    abort_grace_ms: Annotated[StrictInt, Field(ge=0, le=3_600_000)] | None = None


AS_CONFIGURED = StreamPolicy()


class Gateway(_Lenient):
    """The extension object `gateway` of a request (CONTRACT.md 1.3)."""

    stream: StreamPolicy = AS_CONFIGURED
    routing: dict[str, Any] | None = None
    models: Annotated[list[StrictStr], Field(min_length=1, max_length=20)] | None = None
    metadata: dict[str, Any] | None = None


class ChatRequest(_Lenient):
    """The fields of a completion request that are checked; all others pass."""

    model: Annotated[StrictStr, Field(min_length=1)] | None = None
    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    gateway: Gateway | None = None
    routing: dict[str, Any] | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    frequency_penalty: Number | None = None
    presence_penalty: Number | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    n: Annotated[StrictInt, Field(ge=1, le=128)] | None = None
    seed: StrictInt | None = None
    stop: StrictStr | list[StrictStr] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: StrictStr | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    logprobs: StrictBool | None = None
    user: StrictStr | None = None

    def model_ids(self) -> list[str]:
        """The models asked for, first choice first."""
        if self.model is not None:
            return [self.model]
        return list(self.gateway.models or ()) if self.gateway is not None else []

    def models_field(self) -> str:
        """Where the models stand that are told to be at fault."""
        return "model" if self.model is not None else "gateway.models"

    def routing_options(self) -> dict[str, Any]:
        """`gateway.routing` over the top-level `routing` of older documents."""
        nested = self.gateway.routing if self.gateway is not None else None
        return {**(self.routing or {}), **(nested or {})}

    def routing_field(self) -> str:
        """Where the options stand that are told to be at fault."""
        return "gateway.routing" if self.gateway is not None and self.gateway.routing else "routing"

    def stream_policy(self) -> StreamPolicy:
        return self.gateway.stream if self.gateway is not None else AS_CONFIGURED

    def max_output_tokens(self) -> int | None:
        """The longest answer that is asked for, all choices together; None: not said."""
        each = self.max_completion_tokens or self.max_tokens
        return each * (self.n or 1) if each else None

    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


# What is for the gateway and never reaches an upstream.
GATEWAY_FIELDS = ("gateway", "routing", "models", "auriko_metadata")


@dataclass(frozen=True, slots=True)
class CheckedRequest:
    """A request, checked: what it says, the body to send upstream, and the bytes it came as."""

    chat: ChatRequest
    body: dict[str, Any]
    content: bytes


def parse(content: bytes) -> CheckedRequest:
    """Raises `ClientError` that names the field."""
    try:
        body = orjson.loads(content)
    except ValueError as error:
        raise ClientError(f"the body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise ClientError("the body must be a JSON object")
    _check_depth(content, body)
    try:
        request = ChatRequest.model_validate(body)
    except ValidationError as error:
        raise _invalid(error) from None
    if not request.model_ids():
        raise InvalidParameter("model is required (or gateway.models)", param="model")
    if request.model is not None and request.gateway is not None and request.gateway.models:
        raise InvalidParameter("give model or gateway.models, not both", param="gateway.models")
    for name in GATEWAY_FIELDS:
        body.pop(name, None)
    return CheckedRequest(request, body, content)


def _check_depth(content: bytes, body: dict[str, Any]) -> None:
    if content.count(b"[") + content.count(b"{") > MAX_DEPTH:
        try:
            orjson.dumps(body)
        except TypeError:
            raise ClientError(f"the body is nested more than {MAX_DEPTH} levels deep") from None


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
