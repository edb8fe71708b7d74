"""`rivergate keys`: what it prints, and that bad input is one clear line, exit 2 and nothing written."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gateway.access.secret import digest, is_mistyped
from gateway.commands.app import app
from tests.access.books import rows

CONFIGURATION = """
[storage]
path = "{path}"
[[upstreams]]
name = "alpha"
base_url = "http://127.0.0.1:9/v1"
[[upstreams.models]]
id = "openai/gpt-4o"
[[upstreams.models]]
id = "small"
"""
SECRET = re.compile("rg_[0-9A-Za-z]{33}")
Run = Callable[..., Result]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def run(tmp_path: Path, path: Path) -> Run:
    file = tmp_path / "rivergate.toml"
    file.write_text(CONFIGURATION.format(path=path))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["keys", arguments[0], "--config", str(file), *arguments[1:]])

    return run


def made(run: Run, *arguments: str) -> dict[str, Any]:
    """A key that was created."""
    result = run("create", "--name", "Ada", "--json", *arguments)
    assert result.exit_code == 0, result.stderr
    fields: dict[str, Any] = json.loads(result.stdout)
    return fields


def listed(run: Run) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = json.loads(run("list", "--json").stdout)
    return result


def refusal(result: Result) -> str:
    assert result.exit_code == 2
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("rivergate: ")
    return line


def test_a_secret_is_shown_once_and_only_its_digest_is_kept(run: Run, path: Path) -> None:
    result = run("create", "--name", "Ada")
    assert result.exit_code == 0
    [secret] = SECRET.findall(result.stdout)
    assert not is_mistyped(secret)
    assert "shown only once" in result.stdout
    [key] = listed(run)
    assert key["id"] in result.stdout
    assert secret not in run("list").stdout + json.dumps(key)
    assert secret.startswith(key["prefix"])
    assert rows(path, "SELECT digest FROM keys") == [(digest(secret),)]
    assert all(secret.encode() not in file.read_bytes() for file in path.parent.iterdir())


def test_a_key_is_told_in_json_with_all_its_limits(run: Run) -> None:
    limits = ["--balance-usd", "12.5", "--models", "small, openai/gpt-4o,small", "--rpm", "60", "--max-streams", "2"]
    key = made(run, *limits, "--expires", "2100-01-31T12:00:00Z")
    assert SECRET.fullmatch(key.pop("secret"))
    assert listed(run) == [key]
    assert (key["name"], key["balance_usd"], key["rpm"], key["max_streams"]) == ("Ada", 12.5, 60, 2)
    assert key["models"] == ["small", "openai/gpt-4o"]
    assert key["expires_at"] == "2100-01-31T12:00:00+00:00"
    assert key["revoked_at"] is None


def test_a_key_has_the_further_rights_that_it_was_made_with(run: Run) -> None:
    plain, both = made(run), made(run, "--admin", "--publish")
    assert (plain["admin"], plain["publish"], both["admin"], both["publish"]) == (False, False, True, True)
    _, first, second = run("list").stdout.splitlines()
    assert "admin" not in first
    assert "admin, publish" in second


@pytest.mark.parametrize("expires", ["30s", "5m", "12h", "90d", "2100-01-31", "2100-01-31T12:00:00+02:00"])
def test_an_end_may_be_a_moment_or_a_time_from_now(run: Run, expires: str) -> None:
    key = made(run, "--expires", expires)
    assert key["expires_at"] > key["created_at"]


def test_the_list_is_for_people_too(run: Run) -> None:
    assert "no keys" in run("list").stdout
    assert listed(run) == []
    first = made(run, "--balance-usd", "1.25", "--models", "small")
    second = made(run)
    run("revoke", second["id"])
    head, *lines = run("list").stdout.splitlines()
    assert head.split()[:3] == ["id", "name", "key"]
    assert [line.split()[0] for line in lines] == [first["id"], second["id"]]
    assert "1.250000" in lines[0]
    assert lines[0].endswith("active")
    assert lines[1].endswith("revoked")


def test_a_key_is_revoked_once(run: Run) -> None:
    key = made(run)
    result = run("revoke", key["id"], "--json")
    assert json.loads(result.stdout) == {"id": key["id"], "revoked": True}
    assert listed(run)[0]["revoked_at"] is not None
    assert "is revoked already" in refusal(run("revoke", key["id"]))


def test_credit_is_added(run: Run) -> None:
    key = made(run, "--balance-usd", "0.5")
    assert json.loads(run("credit", key["id"], "1.000001", "--json").stdout) == {
        "id": key["id"],
        "balance_usd": 1.500001,
    }
    assert run("credit", key["id"], "1").stdout == f"{key['id']} has 2.500001 USD\n"
    assert listed(run)[0]["balance_usd"] == 2.500001


BAD_AMOUNTS = ["", "much", "nan", "-NaN", "sNaN", "inf", "-inf", "1,5", "0.0000001", "1e10", "1e999999", "0x10", "$5"]


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--balance-usd", [*BAD_AMOUNTS, "-1", "-0.000001"]),
        ("--models", ["", "gpt-5", "small,", "small,gpt-5", "SMALL", "openai/gpt-4o:ttft"]),
        ("--rpm", ["0", "-1", "1000001"]),
        ("--max-streams", ["0", "-5", "1000001"]),
        ("--name", ["", " ", "a\nb", "\x1b[31mred", "x" * 101, "\udce9"]),
        ("--expires", ["", "soon", "2020-01-01", "0d", "-1d", "1w", "2100-13-01", "99999999999d", "9999999999999d"]),
    ],
)
def test_a_key_that_cannot_be_is_refused_and_nothing_is_written(
    run: Run, path: Path, option: str, values: list[str]
) -> None:
    for value in values:
        arguments = [f"{option}={value}"] if option == "--name" else ["--name", "Ada", f"{option}={value}"]
        assert refusal(run("create", *arguments)).startswith(f"rivergate: {option}: "), value
    assert not path.exists()


def test_a_negative_value_behind_its_option_is_refused_in_a_line(run: Run, path: Path) -> None:
    for option in ("--balance-usd", "--rpm", "--max-streams"):
        assert refusal(run("create", "--name", "Ada", option, "-5")).startswith(f"rivergate: {option}: ")
    assert not path.exists()


def test_an_unknown_model_is_told_with_those_there_are(run: Run) -> None:
    line = refusal(run("create", "--name", "Ada", "--models", "gpt-5"))
    assert "'gpt-5' is not configured" in line
    assert "openai/gpt-4o, small" in line


BAD_IDS = [
    "",
    "key_",
    "key_123",
    "KEY_0123456789AB",
    "key_0123456789ab ",
    "key_0123456789ab\n",
    "*",
    "' OR 1=1",
    "\udce9",
]


@pytest.mark.parametrize("command", [["revoke"], ["credit"]])
def test_an_id_that_is_none_is_refused_and_a_secret_in_its_place_is_not_repeated(
    run: Run, path: Path, command: list[str]
) -> None:
    amount = ["5"] if command == ["credit"] else []
    secret = "rg_" + "a" * 33
    for bad in [*BAD_IDS, secret]:
        line = refusal(run(*command, bad, *amount))
        assert line.startswith("rivergate: ID: ")
        assert secret not in line
    assert not path.exists()
    assert "there is no such key" in refusal(run(*command, "key_0123456789ab", *amount))


def test_a_credit_that_is_none_is_refused_and_nothing_is_added(run: Run) -> None:
    key, unlimited = made(run, "--balance-usd", "1"), made(run)
    for bad in [*BAD_AMOUNTS, "0", "0.0", "-0"]:
        assert refusal(run("credit", key["id"], "--", bad)).startswith("rivergate: USD: "), bad
    for negative in ("-1", "-5", "-0.01", "-.5", "-1e3", "-nan", "--5", "--jsn"):
        for arguments in (["--", negative], [negative]):
            assert refusal(run("credit", key["id"], *arguments)).startswith("rivergate: USD: "), negative
    assert refusal(run("credit", key["id"], "-5", "--json")).startswith("rivergate: USD: ")
    assert "has no balance" in refusal(run("credit", unlimited["id"], "1"))
    assert [key["balance_usd"] for key in listed(run)] == [1.0, None]


def test_a_ledger_that_cannot_be_used_is_one_line(run: Run, path: Path) -> None:
    path.write_bytes(b"no database, but notes " * 100)
    for command in (["list"], ["create", "--name", "Ada"], ["revoke", "key_0123456789ab"]):
        assert "storage.path" in refusal(run(*command))
