"""The settings that describe a provider: what each takes, and what each fault says."""

from pathlib import Path

import pytest

from gateway.config import summary

from .toml import MINIMAL, SECRET, configuration, faults, upstream_fault

COMPLETE = """
[[upstreams]]
name = "azure"
base_url = "https://x.openai.azure.com/openai/deployments/gpt-4o"
api_key_env = "AZURE_KEY"
query = { api-version = "2026-01-01" }
auth_header = "api-key"
headers = { HTTP-Referer = "https://example.com", X-Title = "An app" }
header_env = { X-Token = "X_TOKEN" }
header_file = { X-Other = "other.txt" }
forward_headers = ["OpenAI-Organization"]
dialects = ["chat"]
drop = ["stream_options", "messages_meta.name"]
rename = { max_tokens = "max_completion_tokens" }
defaults = { temperature = 0.5, safety = { level = "low", on = true }, stop = ["a", 1] }
weight = 0.25
max_concurrency = 4
rpm = 60
proxy = "http://user:pass@proxy:3128"
tls_client_cert_file = "client.pem"
tls_client_key_file = "client.key"
discover = "on"
[[upstreams.models]]
id = "gpt-*"
upstream_id = "azure-*"
[[upstreams.models]]
id = "gpt-4o"
aliases = ["smart", "gpt-4"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("client.pem", "client.key"):
        (tmp_path / name).write_text("pem")
    (tmp_path / "other.txt").write_text("Other Secret\n")
    return tmp_path


def model_fault(folder: Path, models: str) -> list[str]:
    return faults(folder, MINIMAL.replace('[{ id = "m" }]', models))


def test_all_settings_of_a_provider_load(folder: Path) -> None:
    [upstream] = configuration(folder, COMPLETE, {"AZURE_KEY": SECRET, "X_TOKEN": "to ken"}).upstreams
    assert upstream.query == {"api-version": "2026-01-01"}
    assert upstream.headers == {"HTTP-Referer": "https://example.com", "X-Title": "An app"}
    assert {name: value.get_secret_value() for name, value in upstream.secret_headers.items()} == {
        "X-Token": "to ken",
        "X-Other": "Other Secret",
    }
    assert upstream.forward_headers == ("openai-organization",)
    assert upstream.drop == ("stream_options", "messages_meta.name")
    assert upstream.defaults == {"temperature": 0.5, "safety": {"level": "low", "on": True}, "stop": ["a", 1]}
    assert upstream.proxy is not None
    assert upstream.proxy.get_secret_value() == "http://user:pass@proxy:3128"
    assert upstream.tls_client_cert_file == str(folder / "client.pem")
    assert upstream.tls_client_key_file == str(folder / "client.key")
    assert upstream.models[1].aliases == ("smart", "gpt-4")


def test_a_provider_without_these_settings_is_reached_as_before(folder: Path) -> None:
    [upstream] = configuration(folder, MINIMAL).upstreams
    assert (upstream.auth_header, upstream.auth_scheme, upstream.dialects) == ("Authorization", None, ("chat",))
    assert (upstream.weight, upstream.max_concurrency, upstream.rpm, upstream.discover) == (1.0, 0, 0, "off")
    assert upstream.headers == upstream.query == upstream.rename == upstream.defaults == upstream.secret_headers == {}
    assert upstream.proxy is None


def test_no_secret_of_a_provider_is_in_any_text(folder: Path) -> None:
    config = configuration(folder, COMPLETE, {"AZURE_KEY": SECRET, "X_TOKEN": "to~ken"})
    upstream = config.upstreams[0]
    texts = [repr(config), str(upstream), str(config.model_dump()), config.model_dump_json()]
    for secret in (SECRET, "to~ken", "Other Secret", "user:pass"):
        assert not any(secret in text for text in texts)


def test_tables_come_from_the_environment_too(folder: Path) -> None:
    variables = {
        "RIVERGATE_UPSTREAMS__0__HEADERS": '{ X-A = "b" }',
        "RIVERGATE_UPSTREAMS__0__PROXY": "http://u:p@proxy:1",
        "RIVERGATE_UPSTREAMS__0__HEADER_ENV": '{ X-Token = "X_TOKEN" }',
        "X_TOKEN": "t",
    }
    [upstream] = configuration(folder, MINIMAL, variables).upstreams
    assert upstream.headers == {"X-A": "b"}
    assert upstream.secret_headers["X-Token"].get_secret_value() == "t"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('headers = { Host = "x" }', "headers.Host: must not be set: it belongs to one connection"),
        ('headers = { transfer-encoding = "x" }', "headers.transfer-encoding: must not be set: it belongs"),
        ('headers = { Content-Type = "x" }', "headers.Content-Type: must not be set: the gateway sets this"),
        (f'headers = {{ Authorization = "{SECRET}" }}', "headers.Authorization: a secret does not belong here; use"),
        (f'headers = {{ X-Api-Key = "{SECRET}" }}', "headers.X-Api-Key: a secret does not belong here; use"),
        (f'headers = {{ "a b" = "{SECRET}" }}', 'headers."a b": must be named like a header'),
        (f'headers = {{ X-A = "{SECRET}\\n" }}', "headers.X-A: must be plain ASCII text without control"),
        (f'headers = {{ X-A = "{SECRET}\\r\\nX-B: c" }}', "headers.X-A: must be plain ASCII text without control"),
        ('headers = { X-A = "" }', "headers.X-A: must be plain ASCII text"),
        ("headers = { X-A = 3 }", "headers.X-A: must be a table of text"),
        (f'headers = "{SECRET}"', "headers: must be a table of text"),
        (f'header_env = {{ X-A = "{SECRET}" }}', "header_env.X-A: must be a table of environment variables' names"),
        ('header_env = { X-A = "X_ABSENT" }', "header_env.X-A: $X_ABSENT is not set"),
        ('header_env = { X-A = "X_EMPTY" }', "header_env.X-A: $X_EMPTY holds no value: it is empty"),
        ('header_env = { X-A = "X_LINES" }', "header_env.X-A: $X_LINES holds no usable value: control"),
        ('header_env = { Connection = "X_TOKEN" }', "header_env.Connection: must not be set: it belongs"),
        ('header_file = { X-A = "absent" }', "header_file.X-A: cannot be read: No such file"),
        (f'secret_headers = {{ X-A = "{SECRET}" }}', "secret_headers: unknown key; use header_env or header_file"),
        ('query = { "a b" = "c" }', 'query."a b": must be named in plain ASCII'),
        ("query = { api-version = 2026-01-01 }", "query.api-version: must be a table of text"),
        ('auth_header = "Content-Length"', "auth_header: must not be set: it belongs"),
        ('auth_scheme = "a b"', 'auth_scheme: must be one word, or "" for the bare key'),
        ('forward_headers = ["Cookie"]', "forward_headers[0]: must not be forwarded: it carries"),
        ('forward_headers = ["x-a", "X-API-Key"]', "forward_headers[1]: must not be forwarded: it carries"),
        ('forward_headers = ["Upgrade"]', "forward_headers[0]: must not be set: it belongs"),
        ('forward_headers = ["Accept-Encoding"]', "forward_headers[0]: must not be set: the gateway sets"),
        ('dialects = ["message"]', "dialects[0]: must be"),
        ('dialects = ["smalltalk"]', 'dialects[0]: must be "chat"'),
        ("dialects = []", "dialects: needs at least one entry"),
        ('drop = ["messages"]', "drop[0]: must not be messages or stream"),
        ('drop = ["a..b"]', "drop[0]: must be a request field, or a path of names"),
        ('rename = { model = "deployment" }', "rename.model: must not be model: the gateway acts on this field"),
        ('rename = { a = "stream" }', "rename.a: must not be stream: the gateway acts on this field"),
        ('defaults = { messages = "x" }', "defaults.messages: must not be messages: the gateway acts"),
        ("defaults = { a = 2026-01-01 }", "defaults.a: must hold JSON values: text, numbers"),
        ("defaults = { a = [nan] }", "defaults.a: must hold numbers that JSON has"),
        ("weight = -1", "weight: must be at least 0 and at most 1000"),
        ("rpm = 1.5", "rpm: must be a whole number, at least 0"),
        (f'proxy = "http://u:{SECRET}@p:99999"', "proxy: is not a valid URL; in a password write %2F for /"),
        ('proxy = "https://u:pass-word@p"', 'proxy: must be "none", or http:// and a host'),
        ('proxy = "socks5://p:1080"', 'proxy: must be "none", or http:// and a host'),
        ('proxy = "http://u:pass-word@p/path"', "proxy: must be http://[user:password@]host:port"),
        ("proxy = 3128", 'proxy: must be "none" or http://[user:password@]host:port'),
        ('discover = "yes"', 'discover: must be "off" or "on" (is "yes")'),
        ('tls_client_cert_file = "absent.pem"', "tls_client_cert_file: cannot be read: No such file"),
        ('tls_client_cert_file = "client.pem"', "tls_client_cert_file: is for an upstream with https://"),
        ('tls_client_key_file = "client.key"', "tls_client_cert_file: is required beside tls_client_key_file"),
    ],
)
def test_a_fault_names_the_key_and_says_what_to_do_without_a_secret(folder: Path, line: str, fault: str) -> None:
    found = faults(
        folder, MINIMAL.replace("models", f"{line}\nmodels"), {"X_TOKEN": "t", "X_EMPTY": " ", "X_LINES": "a\nb"}
    )
    assert f"upstreams[0].{fault}" in found[0]
    assert not any(secret in text for text in found for secret in (SECRET, "pass-word"))


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ('headers = { X-A = "1" }\nheader_env = { x-a = "X_TOKEN" }', "header_env.x-a: {} headers"),
        ('header_env = { X-A = "X_TOKEN" }\nheader_file = { X-a = "other.txt" }', "header_file.X-a: {} header_env"),
        ('api_key_env = "X_TOKEN"\nheader_env = { Authorization = "X_TOKEN" }', "Authorization: {} the API key"),
    ],
)
def test_a_header_is_set_in_one_place(folder: Path, lines: str, place: str) -> None:
    assert place.format("this header is already set by") in upstream_fault(folder, lines, {"X_TOKEN": "t"})


@pytest.mark.parametrize(
    "lines",
    [
        'header_env = { X-Team = "X_TOKEN" }\nforward_headers = ["x-team"]',
        'api_key_env = "X_TOKEN"\nauth_header = "X-Team"\nforward_headers = ["x-team"]',
    ],
)
def test_no_client_can_replace_a_secret_header(folder: Path, lines: str) -> None:
    fault = upstream_fault(folder, lines, {"X_TOKEN": "t"})
    assert fault.startswith("upstreams[0].forward_headers[0]: must not be forwarded: ")


def test_a_client_may_replace_a_fixed_header(folder: Path) -> None:
    lines = 'headers = { X-Title = "a" }\nforward_headers = ["X-Title"]'
    assert configuration(folder, MINIMAL.replace("models", f"{lines}\nmodels")).upstreams[0].forward_headers


def test_a_credential_of_another_kind_comes_from_header_env(folder: Path) -> None:
    text = MINIMAL.replace("models", 'header_env = { Authorization = "BASIC" }\nmodels')
    [upstream] = configuration(folder, text, {"BASIC": "Basic YTpi"}).upstreams
    assert upstream.secret_headers["Authorization"].get_secret_value() == "Basic YTpi"


@pytest.mark.parametrize(
    ("models", "fault"),
    [
        ('[{ id = "a*b*" }]', "id: must have at most one *"),
        ('[{ id = "a", upstream_id = "b*" }]', "upstream_id: must have no more * than the id"),
        ('[{ id = "a", aliases = ["b*"] }]', "aliases[0]: must be a whole name without *"),
        ('[{ id = "a", aliases = ["a"] }]', "aliases[0]: is already a name of upstreams[0].models[0]"),
        ('[{ id = "a", aliases = ["b", "b"] }]', "aliases[1]: is already a name of upstreams[0].models[0]"),
        ('[{ id = "a*", aliases = ["b"] }]', "aliases: must not be set beside a wildcard"),
        ('[{ id = "a", aliases = "b" }]', "aliases: must be a list, each 1 to 256 characters without blanks"),
        ('[{ id = "a", aliases = ["b c"] }]', "aliases[0]: must be 1 to 256 characters without blanks"),
    ],
)
def test_a_fault_in_the_names_of_a_model_is_told(folder: Path, models: str, fault: str) -> None:
    [found] = model_fault(folder, models)
    assert found.startswith(f"upstreams[0].models[0].{fault}")


def test_an_alias_of_one_model_is_no_name_of_another(folder: Path) -> None:
    assert model_fault(folder, '[{ id = "a", aliases = ["b"] }, { id = "b" }]') == [
        "upstreams[0].models[0].aliases[0]: is already a name of upstreams[0].models[1]"
    ]


def test_models_are_needed_unless_they_are_discovered(folder: Path) -> None:
    bare = MINIMAL.replace('models = [{ id = "m" }]', "")
    assert faults(folder, bare) == ['upstreams[0].models: is required, unless discover = "on"']
    assert configuration(folder, bare + 'discover = "on"\n').upstreams[0].models == ()


def test_a_base_url_with_a_query_says_where_the_query_belongs(folder: Path) -> None:
    found = faults(folder, MINIMAL.replace("/v1", "/v1?api-version=1"))
    assert found == ["upstreams[0].base_url: must not have a query; put its parameters into the table query"]


def test_the_summary_says_that_more_models_are_discovered(folder: Path) -> None:
    text = MINIMAL.replace("models", 'discover = "on"\nmodels')
    assert "models: 1 and what it lists, no key" in summary(configuration(folder, text))[1]
