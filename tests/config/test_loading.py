"""A configuration from its files, with the secrets and certificates that it names; no text repeats a secret."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import MAX_SECRET_BYTES, MAX_TLS_FILE_BYTES, find, load, summary
from gateway.errors import ConfigError

from .toml import COMPLETE, KEYED, MINIMAL, SECRET, configuration, faults, server_fault, upstream_fault


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


# "sk~" stands in no other part of a configuration, so that finding it in a text means that the text shows the key.
printable_keys = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=9, max_size=80).map(
    lambda text: f"sk~{text}"
)


@given(key=printable_keys)
def test_a_key_is_in_no_repr_no_text_and_no_dump(key: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    config = configuration(tmp_path_factory.getbasetemp(), KEYED, {"ALPHA_API_KEY": key})
    upstream = config.upstreams[0]
    assert upstream.api_key is not None
    assert upstream.api_key.get_secret_value() == key
    found = [repr(config), str(config), repr(upstream), str(upstream), *summary(config)]
    dumps = [
        str(config.model_dump()),
        config.model_dump_json(),
        str(upstream.model_dump()),
        str(dict(upstream)),
    ]
    assert not any(key in text for text in found + dumps)


@given(key=printable_keys, flaw=st.sampled_from(" \t\n\x00\x7f\x1bä\u2028"), place=st.integers(1, 11))
def test_an_unusable_key_is_a_fault_that_does_not_repeat_it(
    key: str, flaw: str, place: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    flawed = key[:place] + flaw + key[place:]
    fields = faults(tmp_path_factory.getbasetemp(), KEYED, {"ALPHA_API_KEY": flawed})
    assert fields == [
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
    found = "a key does not belong here; use api_key_env or api_key_file"
    assert upstream_fault(tmp_path, f'api_key = "{SECRET}"') == f"upstreams[0].api_key: {found}"
    variable = "RIVERGATE_UPSTREAMS__0__API_KEY"
    assert faults(tmp_path, MINIMAL, {variable: SECRET}) == [f"upstreams[0].api_key: {found} [from ${variable}]"]


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
    fields = f"cannot be read: No such file or directory (looked in {credentials})"
    assert upstream_fault(tmp_path, 'api_key_file = "alpha"', environ) == f"upstreams[0].api_key_file: {fields}"
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
