"""Every key of the configuration at its limits, every fault in one go, and no secret in any word of it."""

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.config import (
    MAX_SECRET_BYTES,
    MAX_SOCKET_PATH_BYTES,
    MAX_TLS_FILE_BYTES,
    OPTIMIZE_ALIASES,
    Config,
    FeedSettings,
    Listen,
    ModelSettings,
    RoutingSettings,
    ServerSettings,
    UpstreamSettings,
    defaults_table,
    find,
    load,
    summary,
)
from gateway.config.report import MAX_SHOWN_CHARACTERS, bounds, leaves
from gateway.errors import ConfigError

COMPLETE = """
[server]
listen = "127.0.0.1:8080"        # or "unix:/run/rivergate.sock"; sockets handed over by systemd win
drain_seconds = 30
cors_origins = []                # e.g. ["https://app.example.com"]; the demo allows localhost
max_body_bytes = 4194304
max_connections = 50000

[stream]
commit_after_ms = 10000
keepalive_seconds = 15
idle_timeout_ms = 60000          # silence between tokens that ends the stream as "stalled"
max_duration_seconds = 0         # 0 = no limit
abort_grace_ms = 0               # last reader gone -> upstream aborted after this long
retain_seconds = 300             # a finished stream can be replayed this long
max_log_bytes = 16777216
subscriber_stall_seconds = 30    # no byte accepted for this long -> closed as "lagged"
usage_event = "auto"             # auto | event | finish | none   (section 5)

[ttft]
budget_ms = 0                    # default budget; 0 = none
hedge_after = "off"              # "off" | "auto" (p95 of the measured TTFT) | a number of milliseconds
hedge_max_share = 0.1            # hedges never exceed this share of requests

[routing]
optimize = "balanced"

[[upstreams]]
name = "alpha"
base_url = "https://api.example.com/v1"
api_key_env = "ALPHA_API_KEY"    # or api_key_file (systemd credentials); absent = no Authorization header
[[upstreams.models]]
id = "gpt-4o"                    # the public name; the same id on several upstreams makes them alternatives
upstream_id = "gpt-4o-2024-11-20"
input_usd_per_mtok = 2.5
output_usd_per_mtok = 10.0

[[feeds]]                        # any SSE source, for dashboards
name = "ticker"
url = "https://feeds.example.com/ticker"
retain_events = 1000
lag = "skip"                     # skip (gap event) | close

[storage]
path = "rivergate.db"           # keys, balances, usage records (SQLite)
"""
SECRET = "sk-Very+Secret/Value=42"
MINIMAL = """
[[upstreams]]
name = "alpha"
base_url = "http://127.0.0.1:9000/v1"
models = [{ id = "m" }]
"""
KEYED = MINIMAL.replace("models", 'api_key_env = "ALPHA_API_KEY"\nmodels')


def configuration(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    path = folder / "rivergate.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, environ or {})


def faults(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        configuration(folder, text, environ)
    assert all(fault.isprintable() for fault in caught.value.faults), "a fault is one line"
    return caught.value.faults


def server_fault(folder: Path, line: str) -> str:
    [fault] = faults(folder, f"[server]\n{line}\n{MINIMAL}")
    return fault


def upstream_fault(folder: Path, line: str, environ: Mapping[str, str] | None = None) -> str:
    [fault] = faults(folder, MINIMAL.replace("models", f"{line}\nmodels"), environ)
    return fault


# --- the whole ---------------------------------------------------------------------------------------------


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


# --- the file ----------------------------------------------------------------------------------------------


def test_a_syntax_error_is_told_with_file_line_and_column(tmp_path: Path) -> None:
    [fault] = faults(tmp_path, "[server]\nlisten 5\n")
    assert fault == f"{tmp_path / 'rivergate.toml'}, line 2, column 8: Expected '=' after a key in a key/value pair"


def test_a_syntax_error_at_the_end_has_a_line_and_a_column_too(tmp_path: Path) -> None:
    [fault] = faults(tmp_path, "[server]\ncors_origins = [")
    assert ", line 2, column 17: " in fault


def test_a_missing_file_is_one_clear_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "absent.toml", {})
    assert caught.value.faults == [f"{tmp_path / 'absent.toml'}: cannot be read: No such file or directory"]


def test_a_directory_in_place_of_the_file_is_one_clear_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, {})


def test_a_file_that_is_not_utf8_is_one_clear_fault(tmp_path: Path) -> None:
    (tmp_path / "rivergate.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "rivergate.toml", {})
    assert caught.value.faults == [f"{tmp_path / 'rivergate.toml'}: is not UTF-8 text"]


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    assert configuration(tmp_path, "\ufeff" + MINIMAL).upstreams


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000])
def test_a_value_that_the_parser_cannot_hold_is_one_fault(tmp_path: Path, value: str) -> None:
    [fault] = faults(tmp_path, f"x = {value}")
    assert "cannot be read" in fault


def test_find_takes_the_named_then_the_local_then_the_system_file(tmp_path: Path) -> None:
    system = tmp_path / "system.toml"
    assert find({}, tmp_path, system) is None
    system.touch()
    assert find({}, tmp_path, system) == system
    (tmp_path / "rivergate.toml").touch()
    assert find({}, tmp_path, system) == tmp_path / "rivergate.toml"
    assert find({"RIVERGATE_CONFIG": "/named.toml"}, tmp_path, system) == Path("/named.toml")


# --- keys and types ----------------------------------------------------------------------------------------


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


def test_text_is_not_made_from_numbers_nor_truth_from_text(tmp_path: Path) -> None:
    text = MINIMAL.replace('"alpha"', '5\ninclude_usage = "yes"')
    assert faults(tmp_path, text) == [
        "upstreams[0].name: must be 1 to 64 letters, digits, . _ - (is 5)",
        'upstreams[0].include_usage: must be true or false (is "yes")',
    ]


def test_missing_keys_are_told(tmp_path: Path) -> None:
    assert faults(tmp_path, "[[upstreams]]\nmodels = []\n[[feeds]]\n") == [
        "upstreams[0].name: is required",
        "upstreams[0].base_url: is required",
        "upstreams[0].models: needs at least one entry",
        "feeds[0].name: is required",
        "feeds[0].url: is required",
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


# --- limits ------------------------------------------------------------------------------------------------

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


# --- listen ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "listen", "loopback"),
    [
        ("127.0.0.1:8080", Listen("127.0.0.1", 8080), True),
        ("127.8.9.1:1", Listen("127.8.9.1", 1), True),
        ("localhost:0", Listen("localhost", 0), True),
        ("[::1]:65535", Listen("::1", 65535), True),
        ("unix:/run/rivergate.sock", Listen("", 0, "/run/rivergate.sock"), True),
        (":8080", Listen("", 8080), False),
        ("0.0.0.0:80", Listen("0.0.0.0", 80), False),
        ("[::]:80", Listen("::", 80), False),
        ("localhost.example.com:80", Listen("localhost.example.com", 80), False),
        ("127.0.0.1.example.com:80", Listen("127.0.0.1.example.com", 80), False),
    ],
)
def test_a_listener_is_parsed_and_written_back(text: str, listen: Listen, loopback: bool) -> None:
    assert Listen.parse(text) == listen
    assert str(listen) == text
    assert listen.is_loopback is loopback


@pytest.mark.parametrize(
    "text",
    [
        *("", "8080", "host", "host:", "host:-1", "host:65536", "host:8o", "host:٣", "a b:80", "a:80\n"),
        *("::1:80", "[::1]", "[localhost]:80", "[]:80", "127.0.0.256:80", "1.2.3:80", "http://a:80"),
        *("unix:", "unix:relative", "unix:/a\nb"),
    ],
)
def test_a_listener_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must "):
        Listen.parse(text)


def test_a_socket_path_has_the_limit_of_the_kernel() -> None:
    longest = "/" + "x" * (MAX_SOCKET_PATH_BYTES - 1)
    assert Listen.parse(f"unix:{longest}").path == longest
    with pytest.raises(ValueError, match="at most 107 bytes"):
        Listen.parse(f"unix:{longest}x")


def test_a_faulty_listener_is_told_with_its_value(tmp_path: Path) -> None:
    assert server_fault(tmp_path, 'listen = "nowhere"') == (
        'server.listen: must be host:port, [IPv6]:port, :port or unix:/path (is "nowhere")'
    )
    assert server_fault(tmp_path, "listen = 8080").endswith("or unix:/path (is 8080)")


def test_the_listener_is_dumped_as_it_is_written() -> None:
    assert ServerSettings().model_dump()["listen"] == "127.0.0.1:8080"


# --- URLs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://api.example.com/v1/", "https://api.example.com/v1"),
        ("HTTP://my_service:8000", "http://my_service:8000"),
        ("http://[::1]:9000/v1//", "http://[::1]:9000/v1"),
    ],
)
def test_a_base_url_loses_its_trailing_slashes(url: str, kept: str) -> None:
    assert UpstreamSettings(name="a", base_url=url, models=(ModelSettings(id="m"),)).base_url == kept


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "api.example.com",
            "ftp://a",
            "https://",
            "https:///v1",
            "https://a?",
            "https://a/v1?key=" + SECRET,
        ),
        *("https://a/#x", "https://a#", "https://a b/", "https://a/\\tb", "https://a:0", "https://a:99999"),
        *("https://[::1", "https://ä.example", "https://1.2.3.400/", f"https://user:{SECRET}@a.example/v1"),
    ],
)
def test_a_base_url_that_cannot_be_used_is_refused_without_repeating_it(tmp_path: Path, url: str) -> None:
    [fault] = faults(tmp_path, MINIMAL.replace("http://127.0.0.1:9000/v1", url))
    assert fault.startswith("upstreams[0].base_url: ")
    assert "is " not in fault.removeprefix("upstreams[0].base_url: is not a valid URL")
    assert SECRET not in fault


def test_a_password_in_a_url_is_told_as_what_it_is(tmp_path: Path) -> None:
    feed = '[[feeds]]\nname = "t"\nurl = "http://u:p@t.example/e"\n'
    assert faults(tmp_path, feed) == [
        "feeds[0].url: must not carry a user name or password; use api_key_env or api_key_file"
    ]


# --- secrets -----------------------------------------------------------------------------------------------

# "sk~" stands in no other part of a configuration, so that finding the key means that the key was told.
printable_keys = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=9, max_size=80).map(
    lambda text: f"sk~{text}"
)


@given(key=printable_keys)
def test_a_key_is_in_no_repr_no_text_and_no_dump(key: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    config = configuration(tmp_path_factory.getbasetemp(), KEYED, {"ALPHA_API_KEY": key})
    upstream = config.upstreams[0]
    assert upstream.api_key is not None
    assert upstream.api_key.get_secret_value() == key
    told = [repr(config), str(config), repr(upstream), str(upstream), *summary(config)]
    dumps = [
        str(config.model_dump()),
        config.model_dump_json(),
        str(upstream.model_dump()),
        str(dict(upstream)),
    ]
    assert not any(key in text for text in told + dumps)


@given(key=printable_keys, flaw=st.sampled_from(" \t\n\x00\x7f\x1bä\u2028"), place=st.integers(1, 11))
def test_an_unusable_key_is_a_fault_that_does_not_repeat_it(
    key: str, flaw: str, place: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    flawed = key[:place] + flaw + key[place:]
    told = faults(tmp_path_factory.getbasetemp(), KEYED, {"ALPHA_API_KEY": flawed})
    assert told == [
        "upstreams[0].api_key_env: $ALPHA_API_KEY holds no usable key: blanks, control or non-ASCII characters in it"
    ]


@pytest.mark.parametrize(
    "line",
    [
        f'api_key = "{SECRET}"',
        f'apikey = "{SECRET}"',
        f'api_key_env = "{SECRET}"',
        'api_key_env = "gsk_0123456789abcdef"',
        'api_key_env = "AKIA0123456789ABCDEF"',
        f'api_key_file = "{SECRET}"',
        f'api_key_file = "/{SECRET}"',
        f'api_key_env = ["{SECRET}"]',
    ],
)
def test_a_key_pasted_in_the_wrong_place_is_not_repeated(tmp_path: Path, line: str) -> None:
    fault = upstream_fault(tmp_path, line)
    for part in (SECRET, "sk-Very", "0123456789"):
        assert part not in fault


def test_a_key_in_the_file_is_a_fault_that_says_where_it_belongs(tmp_path: Path) -> None:
    told = "a key does not belong here; use api_key_env or api_key_file"
    assert upstream_fault(tmp_path, f'api_key = "{SECRET}"') == f"upstreams[0].api_key: {told}"
    variable = "RIVERGATE_UPSTREAMS__0__API_KEY"
    assert faults(tmp_path, MINIMAL, {variable: SECRET}) == [f"upstreams[0].api_key: {told} [from ${variable}]"]


def test_other_faults_beside_a_good_key_do_not_show_it(tmp_path: Path) -> None:
    text = KEYED.replace('"alpha"', '3\nlag = "x"').replace('id = "m"', "")
    with pytest.raises(ConfigError) as caught:
        configuration(tmp_path, text, {"ALPHA_API_KEY": SECRET})
    assert len(caught.value.faults) == 3
    assert SECRET not in str(caught.value) + repr(caught.value)
    assert caught.value.__context__ is None or SECRET not in repr(caught.value.__context__)


@pytest.mark.parametrize("value", ["", " ", "\n"])
def test_an_empty_variable_is_a_fault(tmp_path: Path, value: str) -> None:
    assert faults(tmp_path, KEYED, {"ALPHA_API_KEY": value}) == [
        "upstreams[0].api_key_env: $ALPHA_API_KEY holds no key: it is empty"
    ]


def test_a_variable_and_a_file_together_are_a_fault(tmp_path: Path) -> None:
    assert upstream_fault(tmp_path, 'api_key_env = "A_B"\napi_key_file = "b"', {"A_B": SECRET}) == (
        "upstreams[0].api_key_file: only one of api_key_env and api_key_file may be set"
    )


def test_no_reference_means_no_key(tmp_path: Path) -> None:
    assert configuration(tmp_path, MINIMAL).upstreams[0].api_key is None


def test_a_key_file_is_looked_for_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "alpha.key").write_text(SECRET + "\r\n")
    upstream = configuration(tmp_path, KEYED.replace("env = ", "file = ").replace("ALPHA_API_KEY", "alpha.key"))
    key = upstream.upstreams[0].api_key
    assert key is not None
    assert key.get_secret_value() == SECRET


def test_a_key_file_is_looked_for_among_the_credentials_when_there_are_any(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (tmp_path / "alpha").write_text("other")
    environ = {"CREDENTIALS_DIRECTORY": str(credentials)}
    told = f"cannot be read: No such file or directory (looked in {credentials})"
    assert upstream_fault(tmp_path, 'api_key_file = "alpha"', environ) == f"upstreams[0].api_key_file: {told}"
    (credentials / "alpha").write_text(SECRET)
    config = configuration(tmp_path, MINIMAL.replace("models", 'api_key_file = "alpha"\nmodels'), environ)
    assert config.upstreams[0].api_key is not None
    assert config.upstreams[0].api_key.get_secret_value() == SECRET


@pytest.mark.parametrize("content", [b"", b"\n", b"a b", b"a\0b", b"a\nb", b"\xff\xfe", "ä".encode()])
def test_a_key_file_with_anything_but_one_word_is_a_fault(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "k").write_bytes(content)
    assert upstream_fault(tmp_path, 'api_key_file = "k"').startswith("upstreams[0].api_key_file: the file holds no")


def test_a_key_file_has_a_largest_size(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("x" * MAX_SECRET_BYTES)
    assert configuration(tmp_path, MINIMAL.replace("models", 'api_key_file = "k"\nmodels')).upstreams[0].api_key
    (tmp_path / "k").write_text("x" * (MAX_SECRET_BYTES + 1))
    assert upstream_fault(tmp_path, 'api_key_file = "k"') == "upstreams[0].api_key_file: is larger than 8192 bytes"


def test_a_key_file_that_is_a_directory_is_a_fault(tmp_path: Path) -> None:
    assert "Is a directory" in upstream_fault(tmp_path, 'api_key_file = "."')


# --- TLS ---------------------------------------------------------------------------------------------------


def test_certificate_and_key_come_together_and_are_looked_for_beside_the_file(tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("pem")
    both = f'[server]\ntls_cert_file = "cert.pem"\ntls_key_file = "{tmp_path}/key.pem"\n{MINIMAL}'
    config = configuration(tmp_path, both)
    assert config.server.tls_cert_file == str(tmp_path / "cert.pem")
    assert config.server.tls_key_file == str(tmp_path / "key.pem")
    assert summary(config)[0] == "listens on 127.0.0.1:8080 with TLS"
    assert server_fault(tmp_path, 'tls_key_file = "key.pem"') == (
        "server.tls_cert_file: is required beside tls_key_file"
    )


def test_a_tls_file_that_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    assert upstream_fault(tmp_path, 'tls_ca_file = "absent.pem"') == (
        f"upstreams[0].tls_ca_file: cannot be read: No such file or directory (looked in {tmp_path})"
    )


def test_a_tls_file_has_a_largest_size(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"x" * MAX_TLS_FILE_BYTES)
    assert configuration(tmp_path, MINIMAL.replace("models", 'tls_ca_file = "ca.pem"\nmodels'))
    (tmp_path / "ca.pem").write_bytes(b"x" * (MAX_TLS_FILE_BYTES + 1))
    assert "is larger than" in upstream_fault(tmp_path, 'tls_ca_file = "ca.pem"')


# --- the environment ---------------------------------------------------------------------------------------


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    environ = {
        "RIVERGATE_SERVER__LISTEN": ":9000",
        "RIVERGATE_SERVER__DRAIN_SECONDS": "2.5",
        "RIVERGATE_SERVER__CORS_ORIGINS": '["https://a.example"]',
        "RIVERGATE_TTFT__HEDGE_AFTER": "250",
        "RIVERGATE_UPSTREAMS__0__NAME": "omega",
        "RIVERGATE_UPSTREAMS__0__INCLUDE_USAGE": "false",
        "RIVERGATE_UPSTREAMS__0__MODELS__0__INPUT_USD_PER_MTOK": "0.15",
        "RIVERGATE_STORAGE__PATH": "/var/lib/rivergate.db",
        "RIVERGATE_CONFIG": "ignored",
        "PATH": "/bin",
    }
    config = configuration(tmp_path, COMPLETE, environ | {"ALPHA_API_KEY": SECRET})
    assert config.server.listen == Listen("", 9000)
    assert config.server.drain_seconds == 2.5
    assert config.server.cors_origins == ("https://a.example",)
    assert config.ttft.hedge_after == 250
    assert config.upstreams[0].name == "omega"
    assert config.upstreams[0].include_usage is False
    assert config.upstreams[0].models[0].input_usd_per_mtok == Decimal("0.15")
    assert config.upstreams[0].models[0].id == "gpt-4o", "what no variable names stays"
    assert config.storage.path == "/var/lib/rivergate.db"


def test_the_environment_alone_is_enough() -> None:
    environ = {f"RIVERGATE_UPSTREAMS__0__MODELS__{n}__ID": f"m{n}" for n in range(12)}
    environ |= {"RIVERGATE_UPSTREAMS__0__NAME": "a", "RIVERGATE_UPSTREAMS__0__BASE_URL": "http://a/v1"}
    environ |= {"RIVERGATE_UPSTREAMS__0__API_KEY_ENV": "A_KEY", "A_KEY": SECRET}
    environ |= {"RIVERGATE_SERVER__CORS_ORIGINS__0": "*"}
    config = load(None, environ)
    assert [model.id for model in config.upstreams[0].models] == [f"m{n}" for n in range(12)]
    assert config.server.cors_origins == ("*",)


@pytest.mark.parametrize("text", ["2024-11-20", "5", "1e5", "true", "nan", "[1]", "x = 1", "'a", "0x1F"])
def test_a_variable_for_a_text_is_taken_literally(tmp_path: Path, text: str) -> None:
    assert configuration(tmp_path, MINIMAL, {"RIVERGATE_STORAGE__PATH": text}).storage.path == text


def test_a_quoted_variable_is_read_as_toml(tmp_path: Path) -> None:
    assert configuration(tmp_path, MINIMAL, {"RIVERGATE_STORAGE__PATH": '"a b"'}).storage.path == "a b"


def test_a_variable_cannot_smuggle_in_a_second_key(tmp_path: Path) -> None:
    [fault] = faults(tmp_path, MINIMAL, {"RIVERGATE_SERVER__MAX_CONNECTIONS": "5\n[server]\nworkers=9"})
    assert fault.startswith("server.max_connections: must be a whole number")


def test_a_fault_from_the_environment_names_the_variable(tmp_path: Path) -> None:
    environ = {"RIVERGATE_SERVER__DRAIN_SECONDS": "-1", "RIVERGATE_SERVER__CORS_ORIGINS": '["x"]'}
    told = faults(tmp_path, "[stream]\nretain_seconds = -1\n" + MINIMAL, environ)
    assert told == [
        "server.drain_seconds: must be at least 0 and at most 3600 (is -1) [from $RIVERGATE_SERVER__DRAIN_SECONDS]",
        'server.cors_origins[0]: must be "*" or scheme://host[:port] (is "x") [from $RIVERGATE_SERVER__CORS_ORIGINS]',
        "stream.retain_seconds: must be at least 0 and at most 86400 (is -1)",
    ]


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("RIVERGATE_SERVER__LISEN", "; did you mean RIVERGATE_SERVER__LISTEN?"),
        ("RIVERGATE_SERVER_LISTEN", "; did you mean RIVERGATE_SERVER__LISTEN?"),
        ("RIVERGATE_server__listen", ""),
        ("RIVERGATE_UPSTREAMS__0__BASEURL", "; did you mean RIVERGATE_UPSTREAMS__N__BASE_URL?"),
        ("RIVERGATE_UPSTREAMS__00__NAME", "; did you mean RIVERGATE_UPSTREAMS__N__NAME?"),
        ("RIVERGATE_UPSTREAMS__0", ""),
        ("RIVERGATE_SERVER", ""),
        ("RIVERGATE_SERVER__LISTEN__HOST", "; did you mean RIVERGATE_SERVER__LISTEN?"),
        ("RIVERGATE_", ""),
    ],
)
def test_a_variable_that_names_no_key_is_a_fault(tmp_path: Path, variable: str, meant: str) -> None:
    assert faults(tmp_path, MINIMAL, {variable: SECRET}) == [f"${variable}: names no key{meant}"]


def test_a_variable_that_skips_an_index_is_a_fault(tmp_path: Path) -> None:
    assert faults(tmp_path, MINIMAL, {"RIVERGATE_UPSTREAMS__2__NAME": "x"}) == [
        "$RIVERGATE_UPSTREAMS__2__NAME: leaves a gap in the list; the next free index is 1"
    ]


@pytest.mark.parametrize("text", ["upstreams = 3\n", "upstreams = [3]\n", "server = 3\n", "[upstreams]\n"])
def test_a_variable_below_something_of_another_shape_adds_no_confusion(tmp_path: Path, text: str) -> None:
    environ = {"RIVERGATE_UPSTREAMS__0__NAME": "x", "RIVERGATE_SERVER__LISTEN": ":1"}
    assert all(
        "must be" in fault or "at least one" in fault or "required" in fault
        for fault in faults(tmp_path, text, environ)
    )


def test_what_kubernetes_sets_beside_a_service_called_rivergate_is_no_fault(tmp_path: Path) -> None:
    environ = {
        "RIVERGATE_SERVICE_HOST": "10.0.0.1",
        "RIVERGATE_SERVICE_PORT": "8080",
        "RIVERGATE_SERVICE_PORT_HTTP": "8080",
        "RIVERGATE_PORT": "tcp://10.0.0.1:8080",
        "RIVERGATE_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "RIVERGATE_PORT_8080_TCP_PROTO": "tcp",
        "RIVERGATE_PORT_8080_TCP_PORT": "8080",
        "RIVERGATE_PORT_8080_TCP_ADDR": "10.0.0.1",
        "RIVERGATE_METRICS_SERVICE_HOST": "10.0.0.2",
    }
    assert configuration(tmp_path, MINIMAL, environ) == configuration(tmp_path, MINIMAL)
    assert faults(tmp_path, MINIMAL, {"RIVERGATE_PORT": "8080"}) == ["$RIVERGATE_PORT: names no key"]


# --- telling -----------------------------------------------------------------------------------------------


def test_a_fault_is_one_printable_line_whatever_the_file_holds(tmp_path: Path) -> None:
    [fault] = faults(tmp_path, '"\\u2028\\u001b[31m" = 1\n' + MINIMAL)
    assert fault == '"\\u2028\\u001b[31m": unknown key'


def test_a_value_is_repeated_up_to_a_length_and_cut_beyond_it(tmp_path: Path) -> None:
    room = MAX_SHOWN_CHARACTERS - len('""')
    assert server_fault(tmp_path, f'listen = "{"x" * room}"').endswith(f'(is "{"x" * room}")')
    assert server_fault(tmp_path, f'listen = "{"x" * (room + 1)}"').endswith(f'(is "{"x" * (room + 1)}...)')


def test_the_table_has_every_key_once_with_a_default_a_range_and_a_sentence() -> None:
    table = {row.key: row for row in defaults_table()}
    assert len(table) == len(defaults_table()) == len(list(leaves(Config)))
    assert all(row.default and row.allowed and row.description.endswith(".") for row in table.values())
    assert table["server.listen"][:3] == (
        "server.listen",
        '"127.0.0.1:8080"',
        "host:port, [IPv6]:port, :port or unix:/path",
    )
    assert table["server.cors_origins"][1:3] == ("[]", 'a list, each "*" or scheme://host[:port]')
    assert table["stream.keepalive_seconds"][1:3] == ("15", "0.01 to 3600")
    assert table["ttft.hedge_after"][1:3] == ('"off"', '"off", "auto" or 1 to 3600000')
    assert table["upstreams[].include_usage"][1:3] == ("true", "true or false")
    assert table["upstreams[].models[].upstream_id"].default == "the id"
    assert table["upstreams[].name"].default == "required"
    assert "upstreams[].api_key" not in table


def test_the_summary_says_where_the_keys_come_from_and_never_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "beta.key").write_text(SECRET)
    beta = MINIMAL.replace("alpha", "beta").replace("models", 'api_key_file = "beta.key"\nmodels')
    text = COMPLETE + beta + MINIMAL.replace("alpha", "gamma")
    text += '[[feeds]]\nname = "private"\nurl = "http://f.example/e?token=t"\n'
    assert summary(configuration(tmp_path, text, {"ALPHA_API_KEY": SECRET})) == [
        "listens on 127.0.0.1:8080",
        "upstream alpha: https://api.example.com/v1, models: 1, key from $ALPHA_API_KEY",
        f"upstream beta: http://127.0.0.1:9000/v1, models: 1, key from file {tmp_path / 'beta.key'}",
        "upstream gamma: http://127.0.0.1:9000/v1, models: 1, no key",
        "feed ticker: https://feeds.example.com/ticker",
        "feed private: http://f.example/e",
    ]
