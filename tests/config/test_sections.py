"""Every key of the configuration: its type, its default, and its limits."""

import math
import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.config import (
    OPTIMIZE_ALIASES,
    Config,
    FeedSettings,
    ModelSettings,
    RoutingSettings,
    ServerSettings,
    advice,
)
from gateway.config.fields import bounds, leaves

from .toml import COMPLETE, MINIMAL, SECRET, configuration, faults, server_fault, upstream_fault


def test_the_complete_example_loads_with_the_documented_values(tmp_path: Path) -> None:
    config = configuration(tmp_path, COMPLETE, {"ALPHA_API_KEY": SECRET})
    [upstream] = config.upstreams
    assert config.server == ServerSettings()
    assert str(config.server.listen) == "127.0.0.1:8080"
    assert upstream.api_key is not None
    assert upstream.api_key.get_secret_value() == SECRET
    assert upstream.models == (
        ModelSettings(
            id="gpt-4o",
            upstream_id="gpt-4o-2024-11-20",
            input_usd_per_mtok=Decimal("2.5"),
            output_usd_per_mtok=Decimal("10.0"),
        ),
    )
    assert config.feeds == (FeedSettings(name="ticker", url="https://feeds.example.com/ticker"),)
    assert config.storage.path == "rivergate.db"


def test_every_value_of_the_complete_example_is_the_default_of_its_key(tmp_path: Path) -> None:
    config = configuration(tmp_path, COMPLETE, {"ALPHA_API_KEY": SECRET})
    minimal = configuration(tmp_path, MINIMAL)
    for section in ("server", "stream", "ttft", "routing", "storage"):
        assert getattr(config, section) == getattr(minimal, section)


def test_a_file_with_eleven_faults_reports_all_eleven(tmp_path: Path) -> None:
    text = """
    [server]
    lisen = "127.0.0.1:8080"
    max_body_bytes = 4
    drain_seconds = "30"
    tls_cert_file = "rivergate.toml"
    [stream]
    usage_event = "always"
    [ttft]
    hedge_after = 0
    [[upstreams]]
    name = "alpha"
    base_url = "https://alpha.example"
    api_key_env = "ALPHA_API_KEY"
    models = [{ id = "a" }, { id = "b", input_usd_per_mtok = -2.5 }]
    [[upstreams]]
    name = "alpha"
    base_url = "ftp://beta.example"
    models = [{ id = "a" }, { id = "a" }]
    """
    assert faults(tmp_path, text) == [
        'server.drain_seconds: must be a number, at least 0 and at most 3600 (is "30")',
        "server.max_body_bytes: must be at least 1024 and at most 1073741824 (is 4)",
        'server.lisen: unknown key; did you mean "listen"?',
        "server.tls_key_file: is required beside tls_cert_file",
        'stream.usage_event: must be "auto", "event", "finish" or "none" (is "always")',
        'ttft.hedge_after: must be "off", "auto" or a whole number, at least 1 and at most 3600000 (is 0)',
        "upstreams[0].models[1].input_usd_per_mtok: must be at least 0 and at most 1000000 (is -2.5)",
        "upstreams[0].api_key_env: $ALPHA_API_KEY is not set",
        "upstreams[1].base_url: must be http:// or https:// and a host",
        'upstreams[1].name: is already used by upstreams[0] (is "alpha")',
        'upstreams[1].models[1].id: is already used by upstreams[1].models[0] (is "a")',
    ]


def test_sections_are_frozen(tmp_path: Path) -> None:
    config = configuration(tmp_path, MINIMAL)
    with pytest.raises(ValidationError):
        config.server.batch_us = 2


def test_a_configuration_with_neither_upstreams_nor_feeds_is_a_fault(tmp_path: Path) -> None:
    assert faults(tmp_path, "") == ["upstreams: at least one [[upstreams]] or [[feeds]] is needed"]


def test_a_feed_alone_is_enough(tmp_path: Path) -> None:
    text = '[[feeds]]\nname = "t"\nurl = "http://t.example/e?x=1"\nlag = "close"'
    assert configuration(tmp_path, text).feeds[0].lag == "close"


def test_feed_names_are_unique(tmp_path: Path) -> None:
    feed = '[[feeds]]\nname = "t"\nurl = "http://t.example/e"\n'
    assert faults(tmp_path, feed * 2) == ['feeds[1].name: is already used by feeds[0] (is "t")']


def test_the_same_model_on_two_upstreams_makes_alternatives(tmp_path: Path) -> None:
    config = configuration(tmp_path, MINIMAL + MINIMAL.replace("alpha", "beta"))
    assert [upstream.models[0].id for upstream in config.upstreams] == ["m", "m"]


def test_upstream_id_defaults_to_the_id(tmp_path: Path) -> None:
    assert configuration(tmp_path, MINIMAL).upstreams[0].models[0].upstream_id == "m"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[servr]\n", 'servr: unknown key; did you mean "server"?'),
        ("keepalive_seconds = 3\n", "keepalive_seconds: unknown key; did you mean stream.keepalive_seconds?"),
        ('"a\\nb" = 3\n', '"a\\nb": unknown key'),
        ("server = 3\n", "server: must be a table (is 3)"),
        ("[feeds]\n", "feeds: must be a list of tables ([[...]])"),
        ("feeds = [3]\n", "feeds[0]: must be a table (is 3)"),
    ],
)
def test_a_wrong_key_or_shape_is_told_with_what_was_meant(tmp_path: Path, text: str, fault: str) -> None:
    assert faults(tmp_path, text + MINIMAL) == [fault]


def test_an_unknown_key_below_a_list_is_told_with_its_index(tmp_path: Path) -> None:
    assert upstream_fault(tmp_path, "apikey_env = 3") == (
        'upstreams[0].apikey_env: unknown key; did you mean "api_key_env"?'
    )


@pytest.mark.parametrize("value", ["true", '"1"', "1.0", "[1]", "2024-01-01", "nan"])
def test_a_whole_number_is_nothing_else(tmp_path: Path, value: str) -> None:
    fault = server_fault(tmp_path, f"max_connections = {value}")
    assert fault.startswith("server.max_connections: must be a whole number, at least 1 and at most 1000000")


@pytest.mark.parametrize("value", ["true", '"1"', "nan", "inf", "1e999", "9" * 400])
def test_a_number_of_seconds_is_finite_and_a_number(tmp_path: Path, value: str) -> None:
    assert server_fault(tmp_path, f"drain_seconds = {value}").startswith("server.drain_seconds: must be ")


@pytest.mark.parametrize("value", ["true", '"1"', "nan", "inf", "-0.0001", "1e999999999"])
def test_a_price_is_a_plain_number_from_zero(tmp_path: Path, value: str) -> None:
    text = MINIMAL.replace('id = "m"', f'id = "m", output_usd_per_mtok = {value}')
    [fault] = faults(tmp_path, text)
    assert fault.startswith("upstreams[0].models[0].output_usd_per_mtok: must be ")


def test_a_price_is_exact(tmp_path: Path) -> None:
    text = MINIMAL.replace('id = "m"', 'id = "m", input_usd_per_mtok = 0.1, output_usd_per_mtok = 3')
    [model] = configuration(tmp_path, text).upstreams[0].models
    assert model.input_usd_per_mtok == Decimal("0.1")
    assert model.output_usd_per_mtok == Decimal(3)


@pytest.mark.parametrize(
    ("fields", "has_price"),
    [
        ("", False),
        (", input_usd_per_mtok = 1", False),
        (", output_usd_per_mtok = 1", False),
        (", input_usd_per_mtok = 0, output_usd_per_mtok = 0", True),
        (", free = true", True),
        (", free = true, input_usd_per_mtok = 0", True),
        (", free = false", False),
    ],
)
def test_a_model_without_both_prices_is_warned_of_unless_it_is_free(
    tmp_path: Path, fields: str, has_price: bool
) -> None:
    text = MINIMAL.replace('id = "m"', f'id = "m"{fields}')
    assert configuration(tmp_path, text).upstreams[0].models[0].has_price is has_price
    told = [warning.message for warning in advice.warnings(tomllib.loads(text))]
    assert len([message for message in told if message.startswith("the model m has no ")]) == (not has_price)


def test_a_free_model_has_no_price(tmp_path: Path) -> None:
    text = MINIMAL.replace('id = "m"', 'id = "m", free = true, output_usd_per_mtok = 3')
    assert faults(tmp_path, text) == [
        "upstreams[0].models[0].free: must not be true for a model with output_usd_per_mtok"
    ]


def test_text_is_not_made_from_numbers_nor_truth_from_text(tmp_path: Path) -> None:
    text = MINIMAL.replace('"alpha"', '5\ninclude_usage = "yes"')
    assert faults(tmp_path, text) == [
        "upstreams[0].name: must be 1 to 64 letters, digits, . _ - (is 5)",
        'upstreams[0].include_usage: must be true or false (is "yes")',
    ]


def test_a_feed_has_either_a_source_or_publishers(tmp_path: Path) -> None:
    published = configuration(tmp_path, '[[feeds]]\nname = "p"\npublish = true\nremember_ids = 5\n').feeds[0]
    assert (published.url, published.publish, published.remember_ids) == (None, True, 5)
    both = '[[feeds]]\nname = "b"\nurl = "http://t.example/e"\npublish = true\n'
    neither = '[[feeds]]\nname = "n"\npublish = false\n'
    foreign = '[[feeds]]\nname = "f"\nurl = "http://t.example/e"\nremember_ids = 5\n'
    assert faults(tmp_path, both + neither + foreign) == [
        "feeds[0].publish: must not be true for a feed with a url: its events come from there",
        "feeds[1].url: is required, unless publish = true",
        "feeds[2].remember_ids: is for a feed with publish = true",
    ]
    odd = '[[feeds]]\nname = "o"\npublish = true\nlinger_seconds = 1\nmax_event_bytes = 2097153\n'
    assert faults(tmp_path, odd) == [
        "feeds[0].linger_seconds: is for a feed with a url",
        "feeds[0].max_event_bytes: must be at most 2097152 for a feed with publish = true",
    ]


def test_missing_keys_are_told(tmp_path: Path) -> None:
    assert faults(tmp_path, "[[upstreams]]\nmodels = []\n[[feeds]]\n") == [
        "upstreams[0].name: is required",
        "upstreams[0].base_url: is required",
        'upstreams[0].models: needs at least one entry, unless discover = "on"',
        "feeds[0].name: is required",
        "feeds[0].url: is required, unless publish = true",
    ]


def test_a_faulty_model_does_not_count_as_a_missing_one(tmp_path: Path) -> None:
    assert faults(tmp_path, MINIMAL.replace('id = "m"', "")) == ["upstreams[0].models[0].id: is required"]


@pytest.mark.parametrize("name", ["a b", "", "a/b", "ä", "a\\n", "x" * 65])
def test_an_upstream_name_is_a_plain_word(tmp_path: Path, name: str) -> None:
    [fault] = faults(tmp_path, MINIMAL.replace("alpha", name))
    assert fault.startswith("upstreams[0].name: must be 1 to 64 letters")


@pytest.mark.parametrize("model", ["", "a b", "a\\tb", "a\\n", "a\\u0000", "a\\u2028b", "a\\u200b", "x" * 257])
def test_a_model_id_has_no_blanks_and_no_control_characters(tmp_path: Path, model: str) -> None:
    [fault] = faults(tmp_path, MINIMAL.replace('"m"', f'"{model}"'))
    assert fault.startswith("upstreams[0].models[0].id: must be 1 to 256 characters")


@pytest.mark.parametrize("model", ["openai/gpt-4o:free", "ünïcode", "x" * 256])
def test_a_model_id_may_have_anything_else(tmp_path: Path, model: str) -> None:
    config = configuration(tmp_path, MINIMAL.replace('"m"', f'"{model}"'))
    assert config.upstreams[0].models[0].id == model


@pytest.mark.parametrize("word", list(OPTIMIZE_ALIASES))
def test_an_alias_of_a_strategy_becomes_its_name(word: str) -> None:
    assert RoutingSettings.model_validate({"optimize": word}).optimize == OPTIMIZE_ALIASES[word]


@pytest.mark.parametrize("value", ['"off"', '"auto"', "1", "250"])
def test_hedge_after_is_a_word_or_milliseconds(tmp_path: Path, value: str) -> None:
    config = configuration(tmp_path, f"[ttft]\nhedge_after = {value}\n{MINIMAL}")
    assert str(config.ttft.hedge_after) == value.strip('"')


@pytest.mark.parametrize("value", ['"on"', "0", "-1", "true", "0.5", '"250"'])
def test_hedge_after_is_nothing_else(tmp_path: Path, value: str) -> None:
    [fault] = faults(tmp_path, f"[ttft]\nhedge_after = {value}\n{MINIMAL}")
    assert fault.startswith('ttft.hedge_after: must be "off", "auto" or a whole number, at least 1')


@pytest.mark.parametrize("origin", ["*", "https://app.example.com", "http://localhost:3000", "tauri://localhost"])
def test_an_origin_is_scheme_and_host(tmp_path: Path, origin: str) -> None:
    config = configuration(tmp_path, f'[server]\ncors_origins = ["{origin}"]\n{MINIMAL}')
    assert config.server.cors_origins == (origin,)


@pytest.mark.parametrize("origin", ["app.example.com", "https://a.example/", "https://u@a.example", ""])
def test_an_origin_has_no_path_and_no_user(tmp_path: Path, origin: str) -> None:
    fault = server_fault(tmp_path, f'cors_origins = ["https://ok.example", "{origin}"]')
    assert fault.startswith('server.cors_origins[1]: must be "*" or ')


def test_a_list_of_origins_is_a_list(tmp_path: Path) -> None:
    assert server_fault(tmp_path, 'cors_origins = "*"') == (
        'server.cors_origins: must be a list, each "*" or scheme://host[:port] (is "*")'
    )


RANGED = {path: field for path, field in leaves(Config) if bounds(field) != (None, None)}


def tree_with(path: str, value: Any) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "upstreams": [{"name": "a", "base_url": "http://a", "models": [{"id": "m"}]}],
        "feeds": [{"name": "f", "url": "http://f"}],
    }
    *tables, key = path.split(".")
    node: Any = tree
    for table in tables:
        node = node[table[:-2]][0] if table.endswith("[]") else node.setdefault(table, {})
    node[key] = value
    return tree


def test_every_number_has_a_lower_and_an_upper_limit() -> None:
    numbers = {path for path, field in leaves(Config) if re.search(r"\b(int|float|Decimal)\b", str(field.annotation))}
    assert numbers == set(RANGED)
    assert all(None not in bounds(field) for field in RANGED.values())


@pytest.mark.parametrize("path", RANGED)
@pytest.mark.parametrize("side", [0, 1])
def test_every_number_is_taken_at_its_limit_and_refused_one_past_it(path: str, side: int) -> None:
    limit = bounds(RANGED[path])[side]
    annotation = str(RANGED[path].annotation)
    if "float" in annotation:
        past = math.nextafter(limit, (-math.inf, math.inf)[side])
    else:
        past = limit + (Decimal("1e-9") if "Decimal" in annotation else 1) * (-1, 1)[side]
    Config.model_validate(tree_with(path, limit))
    with pytest.raises(ValidationError):
        Config.model_validate(tree_with(path, past))


@pytest.mark.parametrize("path", RANGED)
def test_a_default_is_inside_its_range(path: str) -> None:
    default = RANGED[path].get_default()
    if isinstance(default, int | float):
        Config.model_validate(tree_with(path, default))
