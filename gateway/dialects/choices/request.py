"""Pure: a request for a completion, chat or text: the options of its stream, the models, and what goes upstream."""

from dataclasses import dataclass, replace
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, StrictBool, ValidationError

from gateway.dialects.body_changes import BodyChanges
from gateway.dialects.extension import ExtendedRequest, Lenient, Models, Short
from gateway.dialects.relayed_request import (
    NOT_SENT,
    RelayedFields,
    RelayedRequest,
    with_model,
    without_own_fields,
)
from gateway.dialects.request_body import Content
from gateway.dialects.request_fields import invalid_field, place_of_model
from gateway.wire import json_text

_OPENING_WITH_USAGE = b'{"stream_options":{"include_usage":true},'


class StreamOptions(Lenient):
    """The member `stream_options`."""

    include_usage: StrictBool | None = None


class ChoicesFields(RelayedFields):
    """The fields that the gateway acts on, beside the prompt and the numbers that limit the answer."""

    stream_options: Annotated[StreamOptions, Short] | None = None


class ListedModels(BaseModel):
    """The member `models` of a request without `model`: what `gateway.models` is, in older documents of Auriko."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True, defer_build=True)

    models: Models


@dataclass(slots=True)
class ChoicesRequest(RelayedRequest):
    """A checked request for a completion, of which a dialect has a subclass."""

    asks_usage: bool  # for the usage of a stream
    choices: int
    listed: tuple[str, ...] = ()  # the member `models`, if it says which models are asked for
    has_own_models: bool = False  # the member `models` stands beside `model`: it is for the upstream
    drops_usage: bool = False  # the upstream is not sent `stream_options`

    def model_ids(self) -> list[str]:
        """The models asked for, first choice first; at least one."""
        return list(self.listed) if self.listed else ExtendedRequest.model_ids(self)

    def models_field(self) -> str:
        """The path of the field that names the model, for the `param` of an error."""
        return "models" if self.listed else ExtendedRequest.models_field(self)

    def wants_usage(self) -> bool:
        """Whether the client asked for the usage of a stream."""
        return self.asks_usage

    def max_output_tokens(self, unlimited: int) -> int:
        """The longest answer asked for, in tokens, all choices together; `unlimited` for a choice without a limit."""
        return (self.max_tokens or unlimited) * self.choices

    def length_tells_tokens(self) -> bool:
        """Whether the answer comes without `logprobs`, which make it many times longer than its text."""
        return not self.body.get("logprobs")

    def without_usage(self) -> "ChoicesRequest":
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
        source, place = self.source, None
        adds_usage = streamed and include_usage and not self.asks_usage
        if not (self.is_extended or changes is not None or streamed is not self.streamed):
            place = place_of_model(source, without="stream_options" if adds_usage or self.drops_usage else None)
        if place is None:
            own = self._exchanged(model, streamed=streamed, adds_usage=adds_usage, takes_models=takes_models)
            return source.exchange(own) if changes is None else source.rewrite(own, changes)
        return with_model(source, place, model, _OPENING_WITH_USAGE if adds_usage else b"{")

    def untaken_fields(self, *, takes_models: bool) -> list[str]:
        """The fields of the client that do not go upstream, although the gateway does not act on them either."""
        return ["models"] if self.has_own_models and not takes_models else []

    def extend(self, document: dict[str, Any]) -> None:
        """Note what the request says to the gateway, and take it out of what goes upstream."""
        without_own_fields(self.source)
        if not document.get("models"):
            return
        if self.model is not None:
            self.has_own_models = True
        elif self.gateway is None or not self.gateway.models:
            try:
                self.listed = tuple(ListedModels.model_validate(document).models)
            except ValidationError as error:
                raise invalid_field(error) from None

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
