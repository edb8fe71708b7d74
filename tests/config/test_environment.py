"""The configuration from variables of the environment."""

from decimal import Decimal
from pathlib import Path

import pytest

from gateway.config import Listen, load

from .toml import COMPLETE, MINIMAL, SECRET, configuration, faults


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
    found = faults(tmp_path, "[stream]\nretain_seconds = -1\n" + MINIMAL, environ)
    assert found == [
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
