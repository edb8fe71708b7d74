"""Keys of the application's tokens in files: `check` and a start refuse those that could verify nothing."""

from pathlib import Path

import pytest

from gateway.config import Config
from gateway.errors import ConfigError
from gateway.run.build import build_tokens, probe
from tests.kit.signed_tokens import EC, RSA, SECRET, pem


def settings(**viewers: object) -> Config:
    return Config.model_validate({"viewers": viewers})


@pytest.mark.parametrize(
    ("key", "content", "reason"),
    [
        ("jwt_secret_file", b"short", "viewers.jwt_secret_file: holds a secret of fewer than 32 bytes"),
        ("jwt_secret_file", pem(EC), "viewers.jwt_secret_file: holds a key in PEM"),
        ("jwt_public_key_file", SECRET, "viewers.jwt_public_key_file: holds no public key in PEM"),
    ],
)
def test_a_file_that_could_verify_nothing_is_refused(tmp_path: Path, key: str, content: bytes, reason: str) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=reason) as caught:
        probe(settings(**{key: str(file)}))
    assert "short" not in str(caught.value).replace("shorter", "")


def test_a_good_file_gives_its_keys_and_no_section_gives_none(tmp_path: Path) -> None:
    file = tmp_path / "keys.pem"
    file.write_bytes(pem(RSA) + pem(EC))
    tokens = build_tokens(settings(jwt_public_key_file=str(file)))
    assert tokens is not None
    assert [key.algorithm for key in tokens.keys] == ["RS256", "ES256"]
    assert build_tokens(settings()) is None


def test_a_secret_that_is_not_on_this_machine_is_left_to_the_start(tmp_path: Path) -> None:
    absent = settings(jwt_secret_file=str(tmp_path / "nothing"))
    probe(absent)
    with pytest.raises(ConfigError, match="cannot be read"):
        build_tokens(absent)
