"""Every command that needs a configuration says the same where there is none; one may stand in the environment."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.commands.app import app

COMMANDS = [
    ("serve",),
    ("check",),
    ("keys", "create", "--name", "Ada"),
    ("keys", "list"),
    ("keys", "revoke", "key_0123456789ab"),
    ("keys", "credit", "key_0123456789ab", "5"),
    ("usage",),
    ("token", "feed:statistics"),
]
HINT = "rivergate: no configuration: name one with --config, or write ./rivergate.toml or "
FEED_ALONE = {"RIVERGATE_FEEDS__0__NAME": "ticker", "RIVERGATE_FEEDS__0__URL": "http://127.0.0.1:9/"}


@pytest.fixture(autouse=True)
def _nothing_is_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RIVERGATE_CONFIG", raising=False)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_without_a_configuration_says_what_to_do(command: tuple[str, ...], tmp_path: Path) -> None:
    ended = CliRunner().invoke(app, command)
    assert ended.exit_code == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith(HINT)
    assert line.endswith("`rivergate demo` needs none")
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_may_stand_in_the_environment_alone() -> None:
    for command in (("check",), ("keys", "list")):
        ended = CliRunner().invoke(app, command, env=FEED_ALONE)
        assert (ended.exit_code, ended.stderr) == (0, "")
