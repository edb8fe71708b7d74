"""Routing options of a request: which are accepted, refused by their name, or listed in a warning as ignored."""

from typing import Any

import pytest
from auriko.route_types import RoutingOptions as SdkOptions
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidParameter
from gateway.routing.options import RoutingOptions, parse, warnings
from gateway.routing.strategies import STRATEGIES

EVERYTHING: dict[str, Any] = {
    "optimize": "ttft",
    "weights": {"cost": 1, "ttft": 0.5, "throughput": 0},
    "max_cost_per_1m": 5,
    "max_ttft_ms": 800,
    "min_throughput_tps": 20.5,
    "ttft_percentile": "p95",
    "throughput_percentile": "p95",
    "providers": ["alpha", "beta"],
    "exclude_providers": ["gamma"],
    "prefer": "beta",
    "mode": "fallback",
    "allow_fallbacks": False,
    "max_fallback_attempts": 19,
    "timeout_ms": 1000,
    "deadline_ms": 1000,
}


def refused(given: dict[str, Any], field: str = "gateway.routing") -> InvalidParameter:
    with pytest.raises(InvalidParameter) as raised:
        parse(given, field)
    error = raised.value
    assert (error.status, error.type, error.code) == (400, "invalid_request_error", "invalid_parameter_value")
    assert error.param is not None
    assert error.message.startswith(f"{error.param}: ")
    assert len(error.message) > len(f"{error.param}: ")
    return error


def warnings_of(given: dict[str, Any]) -> list[tuple[str, str]]:
    return [(warning["type"], warning["code"]) for warning in warnings(parse(given))]


def test_nothing_asked_is_the_default_of_everything_and_no_warning() -> None:
    assert parse({}) == RoutingOptions()
    assert warnings_of({}) == []


def test_every_option_is_taken_as_it_is_given() -> None:
    options = parse(EVERYTHING)
    assert options.weights is not None
    assert options.model_dump(include=set(EVERYTHING)) == EVERYTHING
    assert warnings_of(EVERYTHING) == []


def test_what_the_sdk_of_auriko_sends_is_accepted() -> None:
    sent = SdkOptions(**EVERYTHING, data_policy="zdr", only_byok=True, tier="flex").model_dump(exclude_none=True)
    options = parse(sent)
    assert (options.optimize, options.max_ttft_ms, options.deadline_ms) == ("ttft", 800, 1000)


def test_every_field_of_the_sdk_is_known() -> None:
    assert SdkOptions.model_fields.keys() <= RoutingOptions.model_fields.keys()


@pytest.mark.parametrize("name", RoutingOptions.model_fields)
def test_null_is_unset(name: str) -> None:
    assert parse({name: None}) == RoutingOptions()
    assert warnings_of({name: None}) == []


@pytest.mark.parametrize(("word", "strategy"), [("speed", "ttft"), ("cheapest", "cost"), ("throughput", "tps")])
def test_the_older_names_of_strategies_are_understood(word: str, strategy: str) -> None:
    assert parse({"optimize": word}).optimize == strategy


@pytest.mark.parametrize("name", STRATEGIES.names)
def test_every_strategy_can_be_asked_for(name: str) -> None:
    assert parse({"optimize": name}).optimize == name


def test_every_shortcut_of_a_models_name_is_a_strategy() -> None:
    for word, strategy in STRATEGIES.shortcuts.items():
        assert parse({"optimize": strategy}).optimize == strategy, word
    assert {
        "ttft",
        "cost-focus",
        "floor",
        "cost",
        "nitro",
        "fast",
        "balanced",
        "speed",
    } <= STRATEGIES.shortcuts.keys()


NOT_A_NUMBER: list[Any] = ["5", "", True, [], {}, [5]]
BAD_NUMBERS = [*NOT_A_NUMBER, 0, -1, -0.5, float("nan"), float("inf"), -float("inf")]
BAD_MILLISECONDS = [*NOT_A_NUMBER, 0, -1, 1.5, 100.5, 86_400_001, 10**30, float("nan")]
BAD_WORDS: list[Any] = ["", "best", "TTFT", "ttft ", 5, True, ["ttft"], {}]
BAD_FLAGS: list[Any] = ["true", 1, 0, [], {}]
BAD = {
    "optimize": BAD_WORDS,
    "max_cost_per_1m": BAD_NUMBERS,
    "max_ttft_ms": BAD_MILLISECONDS,
    "min_throughput_tps": BAD_NUMBERS,
    "ttft_percentile": ["p99", "P95", 95, "", [], True],
    "throughput_percentile": ["p99", 50, ""],
    "providers": ["alpha", [], {}, 5, True, ["a"] * 101],
    "exclude_providers": ["alpha", {}, 5, ["a"] * 101],
    "prefer": [5, ["alpha"], True, {}],
    "mode": ["", "both", "Pool", 1, []],
    "allow_fallbacks": BAD_FLAGS,
    "max_fallback_attempts": [*NOT_A_NUMBER, 0, 20, -1, 1.5, 10**30],
    "timeout_ms": BAD_MILLISECONDS,
    "deadline_ms": BAD_MILLISECONDS,
    "max_cost_usd": BAD_NUMBERS,
    "data_policy": ["", "all", 5, True],
    "only_byok": BAD_FLAGS,
    "only_platform": BAD_FLAGS,
    "require_parameters": BAD_FLAGS,
    "tier": [5, True, [], {}],
    "weights": ["cost", 5, [1, 2, 3], True, {}, {"cost": 0}, {"cost": 0, "ttft": 0.0, "throughput": -0.0}],
}


def test_every_option_has_bad_values_here() -> None:
    assert BAD.keys() == RoutingOptions.model_fields.keys()


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_bad_value_is_a_400_that_names_the_field(name: str, value: Any) -> None:
    assert refused({name: value}).param == f"gateway.routing.{name}"


@pytest.mark.parametrize("name", ["cost", "ttft", "throughput"])
@pytest.mark.parametrize("value", [-1, -0.001, "1", True, None, [], float("nan"), float("inf")])
def test_a_bad_weight_is_named(name: str, value: Any) -> None:
    assert refused({"weights": {"cost": 1, name: value}}).param == f"gateway.routing.weights.{name}"


def test_an_unknown_weight_is_refused() -> None:
    assert refused({"weights": {"cost": 1, "speed": 1}}).param == "gateway.routing.weights"


@pytest.mark.parametrize("name", ["providers", "exclude_providers"])
@pytest.mark.parametrize("value", [5, None, True, ["a"]])
def test_a_name_that_is_no_text_is_told_by_its_place(name: str, value: Any) -> None:
    assert refused({name: ["alpha", value]}).param == f"gateway.routing.{name}.1"


def test_the_field_is_named_where_the_client_put_it() -> None:
    assert refused({"max_ttft_ms": -1}, "routing").param == "routing.max_ttft_ms"


def test_byok_and_platform_together_contradict_each_other() -> None:
    assert refused({"only_byok": True, "only_platform": True}).param == "gateway.routing.only_platform"
    assert parse({"only_byok": True, "only_platform": False}).only_byok


def test_a_deadline_before_the_timeout_contradicts_it() -> None:
    assert refused({"timeout_ms": 100, "deadline_ms": 99}).param == "gateway.routing.deadline_ms"
    assert parse({"timeout_ms": 100, "deadline_ms": 100}).deadline_ms == 100


@pytest.mark.parametrize(
    ("name", "least", "most"), [("max_ttft_ms", 1, 86_400_000), ("max_fallback_attempts", 1, 19), ("tier", "", "x")]
)
def test_the_ends_of_a_range_are_in_it(name: str, least: Any, most: Any) -> None:
    for value in (least, most):
        assert getattr(parse({name: value}), name) == value


def test_as_many_names_as_the_limit_are_taken() -> None:
    assert len(parse({"providers": ["a"] * 100}).providers or ()) == 100


def test_an_excluded_list_may_be_empty() -> None:
    assert parse({"exclude_providers": []}).exclude_providers == []


def test_a_refusal_does_not_repeat_what_was_sent_nor_grow_with_it() -> None:
    error = refused({"optimize": "x" * 10_000, "mode": "secret"})
    assert "xxx" not in error.message
    assert len(error.message) <= 300


@pytest.mark.parametrize(
    "ignored",
    [
        {"data_policy": "zdr"},
        {"data_policy": "no_training"},
        {"only_byok": True},
        {"only_platform": True},
        {"require_parameters": True},
        {"tier": "flex"},
    ],
)
def test_an_option_that_is_not_acted_on_is_told(ignored: dict[str, Any]) -> None:
    (warning,) = warnings(parse(ignored))
    assert (warning["type"], warning["code"]) == ("unsupported_feature", "routing_option_ignored")
    assert repr(next(iter(ignored))) in warning["message"]


def test_what_asks_for_nothing_is_not_told() -> None:
    nothing = {"data_policy": "none", "only_byok": False, "only_platform": False, "require_parameters": False}
    assert warnings_of(nothing) == []


def test_unknown_keys_are_accepted_and_told() -> None:
    assert warnings_of({"optimise": "ttft", "max_ttft": 5}) == [("unsupported_field", "routing_option_unknown")] * 2
    (warning,) = warnings(parse({"x" * 10_000: 1}))
    assert len(warning["message"]) < 200


@pytest.mark.parametrize("name", ["model_copy", "model_extra", "model_config", "__class__", "__dict__", "copy", ""])
def test_keys_that_python_means_something_by_are_unknown_ones_like_any_other(name: str) -> None:
    options = parse({name: {"a": 1}, "mode": "fallback"})
    assert options.mode == "fallback"
    assert options.model_copy(update={"optimize": "cost"}).optimize == "cost"
    assert len(list(warnings(options))) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*RoutingOptions.model_fields, "other"]), JSON, max_size=5))
def test_whatever_is_sent_it_is_taken_or_refused_with_a_name(given: dict[str, Any]) -> None:
    try:
        options = parse(given)
    except InvalidParameter as error:
        named = (error.param or "").split(".")
        assert named[:2] == ["gateway", "routing"]
        assert named[2] in given
    else:
        assert all({"type", "code", "message"} == warning.keys() for warning in warnings(options))
