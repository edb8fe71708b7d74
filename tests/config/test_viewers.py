"""The section `[viewers]`: one source of keys, files that can be read, and an issuer that nobody can stand in for."""

from pathlib import Path

import pytest

from gateway.config import examine

from .toml import MINIMAL, configuration, faults


def viewer_faults(folder: Path, *lines: str) -> list[str]:
    return faults(folder, MINIMAL + "[viewers]\n" + "\n".join(lines) + "\n")


def test_without_the_section_no_tokens_of_an_application_are_taken(tmp_path: Path) -> None:
    assert not configuration(tmp_path, MINIMAL).viewers.takes_tokens


def test_a_file_is_looked_for_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "public.pem").write_text("x")
    text = MINIMAL + '[viewers]\njwt_public_key_file = "public.pem"\njwt_audience = "rivergate"\n'
    viewers = configuration(tmp_path, text).viewers
    assert (viewers.jwt_public_key_file, viewers.jwt_audience) == (str(tmp_path / "public.pem"), "rivergate")
    assert viewers.takes_tokens


def test_only_one_source_of_keys_may_be_set_and_one_must(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    both = viewer_faults(tmp_path, 'jwt_secret_file = "secret"', 'jwks_url = "https://id.example/keys"')
    assert both == [
        "viewers.jwks_url: only one of jwt_secret_file, jwt_public_key_file, jwks_url may be set, and "
        "jwt_secret_file is"
    ]
    none = viewer_faults(tmp_path, 'jwt_audience = "rivergate"')
    assert none == ["viewers: one of jwt_secret_file, jwt_public_key_file, jwks_url is needed"]


@pytest.mark.parametrize("url", ["http://id.example/keys", "http://10.0.0.1/keys", "http://localhost.evil.example/k"])
def test_keys_are_fetched_by_https_only(tmp_path: Path, url: str) -> None:
    [fault] = viewer_faults(tmp_path, f'jwks_url = "{url}"')
    assert fault.startswith("viewers.jwks_url: must be https://")


@pytest.mark.parametrize(
    "url", ["https://id.example/keys", "http://127.0.0.1:9/keys", "http://[::1]/k", "http://localhost/"]
)
def test_this_machine_needs_no_https(tmp_path: Path, url: str) -> None:
    assert configuration(tmp_path, MINIMAL + f'[viewers]\njwks_url = "{url}"\n').viewers.jwks_url == url


def test_a_secret_that_is_not_on_this_machine_is_no_fault_for_a_check_and_a_public_key_is(tmp_path: Path) -> None:
    for key, is_fault in (("jwt_secret_file", False), ("jwt_public_key_file", True)):
        file = tmp_path / "rivergate.toml"
        file.write_text(MINIMAL + f'[viewers]\n{key} = "nothing"\n')
        examined = examine(file, {})
        assert bool(examined.faults) == is_fault
        [found] = [entry for entry in (*examined.faults, *examined.warnings) if entry.key.startswith("viewers")]
        assert found.line().startswith(f"viewers.{key}: cannot be read: No such file or directory")
    assert len(viewer_faults(tmp_path, 'jwt_secret_file = "nothing"')) == 1
