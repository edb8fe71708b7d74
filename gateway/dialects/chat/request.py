"""Pure: the parser of chat completion requests: checks a body, and takes the gateway's own fields out of it.

Only the fields that the gateway acts on, and the plain types of the well-known fields, are checked here. The upstream
judges the rest, and a refusal reaches the client in the upstream's words.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any

import orjson
from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError

from gateway.dialects.body_changes import BodyChanges
from gateway.dialects.chat import prompt
from gateway.dialects.extension import GATEWAY_FIELDS, ExtendedRequest, Gateway, Lenient
from gateway.errors import ClientError, InvalidParameter

MAX_FAULT_TEXT = 300  # characters of an error message; it may quote the request
MAX_DEPTH = 254  # levels of nesting that orjson can write

Number = StrictFloat | StrictInt
Count = Annotated[StrictInt, Field(ge=1)]


class StreamOptions(Lenient):
    """The member `stream_options`."""

    include_usage: StrictBool | None = None


class ChatFields(Lenient):
    """The fields of a request that are checked; all others pass. The client is told the first fault in this order."""

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


@dataclass(frozen=True, slots=True)
class ChatRequest(ExtendedRequest):
    """A checked request. `body`: what goes upstream, still with the model's public id.

    It lives as long as its answer, so of the checked fields it keeps only those that are needed later.
    """

    streamed: bool
    max_tokens: int | None  # the limit of each choice
    choices: int
    body: dict[str, Any]
    prompt_tokens: int

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
        return replace(self, body={name: value for name, value in self.body.items() if name != "stream_options"})

    def upstream_body(
        self, model: str, *, streamed: bool, include_usage: bool, changes: BodyChanges | None = None
    ) -> bytes:
        """The body as it came, without the gateway's own fields, and with the upstream's name of the model."""
        body = {**self.body, "model": model}
        if streamed:
            body["stream"] = True
            if include_usage:
                body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        return orjson.dumps(body if changes is None else changes.apply(body))


def parse(content: bytes) -> ChatRequest:
    """Check a request's body. Raises `ClientError` that names the field."""
    try:
        body = orjson.loads(content)
    except ValueError as error:
        raise ClientError(f"the body is not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise ClientError("the body must be a JSON object")
    _check_depth(content, body)
    try:
        fields = ChatFields.model_validate(body)
    except ValidationError as error:
        raise _invalid(error) from None
    own = {name: body.pop(name) for name in GATEWAY_FIELDS if name in body}
    return _checked(fields, body, prompt.estimate(body, content, own))


def _checked(fields: ChatFields, body: dict[str, Any], prompt_tokens: int) -> ChatRequest:
    request = ChatRequest(
        model=fields.model,
        gateway=fields.gateway,
        routing=fields.routing,
        streamed=bool(fields.stream),
        # Which of two limits an upstream keeps is not known, so money for the longer answer is reserved.
        max_tokens=max(fields.max_completion_tokens or 0, fields.max_tokens or 0) or None,
        choices=fields.n or 1,
        body=body,
        prompt_tokens=prompt_tokens,
    )
    request.check_models()
    return request


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
