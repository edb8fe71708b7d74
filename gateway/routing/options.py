"""Pure: the routing options of a request, checked (deploy/reference/requests.md describes each).

In: the object `gateway.routing`, or the top-level `routing` of older documents. Out: `RoutingOptions`, and a warning
for each option that is accepted but not acted on.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from gateway.errors import InvalidParameter
from gateway.routing.strategies import STRATEGIES, Strategies

_MAX_NAMES = 100  # names in one list of providers
_MAX_FAULT_TEXT = 300  # characters of an error message; it may quote the request
MAX_WARNINGS = 20  # warnings of unknown keys in one answer

Warning_ = Mapping[str, str]
Finite = Annotated[StrictFloat | StrictInt, Field(allow_inf_nan=False)]
Positive = Annotated[Finite, Field(gt=0)]
Milliseconds = Annotated[StrictInt, Field(gt=0, le=86_400_000)]
Names = Annotated[list[StrictStr], Field(max_length=_MAX_NAMES)]
Percentile = Literal["p50", "p95"]


def _strategy(word: object, info: ValidationInfo) -> str:
    """The name of the strategy that a word of the request stands for; `info.context` may be another registry."""
    strategies = info.context if isinstance(info.context, Strategies) else STRATEGIES
    if (name := strategies.find(word)) is None:
        *most, last = (repr(known) for known in strategies.names)
        raise ValueError(f"Input should be {', '.join(most)} or {last}")
    return name


class Weights(BaseModel):
    """How much cost, TTFT and throughput count, relative to one another; at least one weight is above zero."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    cost: Annotated[Finite, Field(ge=0)] = 0
    ttft: Annotated[Finite, Field(ge=0)] = 0
    throughput: Annotated[Finite, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _some(self) -> "Weights":
        if not (self.cost or self.ttft or self.throughput):
            raise ValueError("at least one weight must be above 0")
        return self


class RoutingOptions(BaseModel):
    """The rules of a client for the choice of its upstream; what is unset is the server's default."""

    # `defer_build`: the first request with options pays for the validator, 4 ms, and not each start.
    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True, defer_build=True)

    optimize: Annotated[StrictStr, BeforeValidator(_strategy)] | None = None
    weights: Weights | None = None
    max_cost_per_1m: Positive | None = None
    max_ttft_ms: Milliseconds | None = None
    min_throughput_tps: Positive | None = None
    ttft_percentile: Percentile = "p50"
    throughput_percentile: Percentile = "p50"
    providers: Annotated[Names, Field(min_length=1)] | None = None
    exclude_providers: Names = []
    prefer: StrictStr | None = None
    mode: Literal["pool", "fallback"] = "pool"
    allow_fallbacks: StrictBool = True
    max_fallback_attempts: Annotated[StrictInt, Field(ge=1, le=19)] | None = None
    timeout_ms: Milliseconds | None = None
    deadline_ms: Milliseconds | None = None
    max_cost_usd: Positive | None = None  # the limit of one answer; Auriko's API does not have this option
    data_policy: Literal["none", "no_training", "zdr"] | None = None
    only_byok: StrictBool | None = None
    only_platform: StrictBool | None = None
    require_parameters: StrictBool | None = None
    tier: StrictStr | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "RoutingOptions":
        if self.only_byok and self.only_platform:
            raise ValueError("only_platform: contradicts only_byok; at most one of them can be true")
        if self.deadline_ms is not None and self.timeout_ms is not None and self.deadline_ms < self.timeout_ms:
            raise ValueError("deadline_ms: must be at least timeout_ms")
        return self


NO_OPTIONS = RoutingOptions.model_construct()

# Options that are accepted, since SDKs send them, but not acted on. An answer warns of each unless its value asks for
# nothing.
_IGNORED = ("data_policy", "only_byok", "only_platform", "require_parameters", "tier")
_ASKS_NOTHING: tuple[object, ...] = (None, False, "none")


def parse(
    given: Mapping[str, Any], field: str = "gateway.routing", strategies: Strategies = STRATEGIES
) -> RoutingOptions:
    """The options of a request; null means unset. Raises `InvalidParameter` that names the field below `field`."""
    if not given:
        return NO_OPTIONS
    try:
        present = {name: value for name, value in given.items() if value is not None}
        return RoutingOptions.model_validate(present, context=strategies)
    except ValidationError as problem:
        fault = problem.errors(include_url=False, include_input=False)[0]
        message = str(fault["msg"]).removeprefix("Value error, ")
        steps = [str(step) for step in fault["loc"] if isinstance(step, int) or str(step) in _STEPS]
        if not steps:  # the message of a rule over several fields begins with the field at fault
            name, _, message = message.partition(": ")
            steps = [name]
        path = ".".join([field, *steps])
        raise InvalidParameter(f"{path}: {message}"[:_MAX_FAULT_TEXT], param=path) from None


def warnings(options: RoutingOptions, *, streamed: bool = True) -> Iterator[Warning_]:
    """A warning for each option that is not acted on, since no option is ignored in silence.

    For an answer that is not streamed, `max_cost_usd` is such an option: the answer cannot be cut.
    """
    if options is NO_OPTIONS:
        return
    for name in _IGNORED if streamed else (*_IGNORED, "max_cost_usd"):
        if getattr(options, name) not in _ASKS_NOTHING:
            yield warning(
                "unsupported_feature",
                "routing_option_ignored",
                f"the routing option {name!r} is accepted but not acted on",
            )
    for name in list(options.model_extra or {})[:MAX_WARNINGS]:
        message = f"there is no routing option {name[:60]!r}"
        yield warning("unsupported_field", "routing_option_unknown", message)


def warning(kind: str, code: str, message: str) -> Warning_:
    """An entry of `routing_metadata.warnings`; `kind` has to be a type of warning that Auriko's SDK knows."""
    return {"type": kind, "code": code, "message": message}


_STEPS = frozenset([*RoutingOptions.model_fields, *Weights.model_fields])
