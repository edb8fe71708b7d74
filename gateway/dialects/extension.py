"""Pure: the extension of requests: what a request of any dialect may say to the gateway itself.

It is said in the members `routing` and `gateway` of the body, which never reach an upstream
(deploy/reference/requests.md describes them).
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StrictStr

from gateway.errors import InvalidParameter

GATEWAY_FIELDS = ("gateway", "routing", "models", "auriko_metadata")  # members of a body that do not go upstream


class Lenient(BaseModel):
    """An object of which some fields are checked and all others pass."""

    # `defer_build`: a part of a request is checked with the whole, so that it needs no validator of its own.
    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True, defer_build=True)


class StreamPolicy(BaseModel):
    """The object `gateway.stream`: what becomes of this stream without subscribers; None: as configured."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)

    on_last_reader: Literal["abort", "drain"] | None = None
    abort_grace_ms: Annotated[StrictInt, Field(ge=0, le=3_600_000)] | None = None


AS_CONFIGURED = StreamPolicy.model_construct()
MAX_KEYS = 100  # of one object of the extension; each unknown key of more would cost a fault or a warning
MAX_MODELS = 20  # in one list


def _short(value: Any) -> Any:
    """An object with a reasonable number of keys; any other value is returned as it is and judged later."""
    if isinstance(value, dict) and len(value) > MAX_KEYS:
        raise ValueError(f"it has more than {MAX_KEYS} keys")
    return value


Short = BeforeValidator(_short)
Models = Annotated[list[StrictStr], Field(min_length=1, max_length=MAX_MODELS)]


class Gateway(Lenient):
    """The member `gateway` of a request. Clients are told the name of this class when theirs is no object."""

    stream: Annotated[StreamPolicy, Short] = AS_CONFIGURED
    routing: Annotated[dict[str, Any], Short] | None = None
    models: Models | None = None
    metadata: dict[str, Any] | None = None


@dataclass(slots=True)
class ExtendedRequest:
    """What a request of any dialect says to the gateway: the model that it asks for, and the two extensions."""

    model: str | None
    gateway: Gateway | None
    routing: dict[str, Any] | None
    echoed_bytes = 0  # of the prompt, which the answers of one dialect can repeat; no field, which takes longer

    def model_ids(self) -> list[str]:
        """The models asked for, first choice first; [] if the request names none."""
        if self.model is not None:
            return [self.model]
        return list(self.gateway.models or ()) if self.gateway is not None else []

    def only_model(self) -> str | None:
        """The model asked for, if that is all that the request says to the gateway; else None."""
        return self.model if self.gateway is None and self.routing is None else None

    def check_models(self) -> None:
        """Refuse a request that names its models in no place or in both. Raises `InvalidParameter`."""
        if not self.model_ids():
            raise InvalidParameter("model is required (or gateway.models)", param="model")
        if self.model is not None and self.gateway is not None and self.gateway.models:
            raise InvalidParameter("give model or gateway.models, not both", param="gateway.models")

    def models_field(self) -> str:
        """The path of the field that names the model, for the `param` of an error."""
        return "model" if self.model is not None else "gateway.models"

    def routing_options(self) -> dict[str, Any]:
        """The routing options: `gateway.routing` laid over the top-level `routing`, which older clients send."""
        nested = self.gateway.routing if self.gateway is not None else None
        return {**(self.routing or {}), **(nested or {})}

    def routing_field(self) -> str:
        """The path of the field that holds the routing options, for the `param` of an error."""
        return "gateway.routing" if self.gateway is not None and self.gateway.routing else "routing"

    def previous_answer(self) -> str | None:
        """Nothing: in most dialects a request says all that it is about."""
        return None

    def conversation(self) -> str | None:
        """Nothing: in most dialects no upstream keeps conversations."""
        return None

    def add_context(self, tokens: int) -> None:
        """Nothing to count: what no upstream keeps, none reads again."""

    def without_usage(self) -> Self:
        """The request as it is, in a dialect that has no field by which usage is asked for."""
        return self

    def stream_policy(self) -> StreamPolicy:
        """The policy for this stream when it has no subscribers."""
        return self.gateway.stream if self.gateway is not None else AS_CONFIGURED
