"""`rivergate usage`: the sums of the books, for people and for machines, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.access import token_keys
from gateway.access.sqlite_books import SqliteBooks
from gateway.access.viewer_token import read_token
from gateway.commands.app import app
from tests.access.books import NOW, new_key, record

# The keys of the upstreams are in no environment: the command does not need them.
CONFIGURATION = """
[storage]
path = "{path}"
[[upstreams]]
name = "alpha"
base_url = "https://api.example.com/v1"
api_key_env = "ABSENT_KEY"
tls_ca_file = "absent.pem"
models = [{{ id = "m" }}]
[[upstreams]]
name = "beta"
base_url = "https://api.example.com/v1"
api_key_file = "absent.key"
models = [{{ id = "m" }}]
"""
DAY = 86_400
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    path, file = tmp_path / "ledger.db", tmp_path / "rivergate.toml"
    file.write_text(CONFIGURATION.format(path=path))
    books = SqliteBooks.open(path)
    books.create(new_key(id="key_0123456789ab", name="Ada"))
    books.settle(
        [
            record("key_0123456789ab", 2_500_000, model="m", prompt_tokens=1200),
            record("key_0123456789ab", 1, model="m", hedge_cost_microusd=3, ended_at=NOW - DAY),
            record(None, 5, model="other", upstream=None, estimated=True),
        ]
    )
    books.close()
    return lambda *options: CliRunner().invoke(app, ["usage", "--config", str(file), *options])


def test_days_are_summed_up_and_added(run: Run) -> None:
    ended = run("--from", "2027-01-01", "--to", "2027-01-31")
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.splitlines() == [
        "2027-01-01 to 2027-01-31 (UTC)",
        "",
        "day         requests  estimated  input tokens  output tokens       USD  hedges USD",
        "2027-01-14         1          0             3              5  0.000001    0.000003",
        "2027-01-15         2          1         1,203             10  2.500005    0.000000",
        "total              3          1         1,206             15  2.500006    0.000003",
    ]


def test_keys_are_told_by_id_and_name_and_a_missing_value_as_a_dash(run: Run) -> None:
    lines = run("--by", "key,upstream", "--from", "2027-01-01", "--to", "2027-01-31").stdout.splitlines()
    assert lines[3].split()[:3] == ["-", "-", "1"]
    assert lines[4].startswith("key_0123456789ab (Ada)  alpha")


def test_machines_get_numbers(run: Run) -> None:
    found = json.loads(run("--by", "key, model", "--from", "2027-01-15", "--to", "2027-01-15", "--json").stdout)
    assert (found["from"], found["to"], found["by"]) == ("2027-01-15", "2027-01-15", ["key", "model"])
    assert found["data"] == [
        {
            "key": None,
            "model": "other",
            "requests": 1,
            "prompt_tokens": 3,
            "completion_tokens": 5,
            "estimated_requests": 1,
            "cost_usd": 5e-06,
            "hedge_cost_usd": 0.0,
            "key_name": None,
        },
        {
            "key": "key_0123456789ab",
            "model": "m",
            "requests": 1,
            "prompt_tokens": 1200,
            "completion_tokens": 5,
            "estimated_requests": 0,
            "cost_usd": 2.5,
            "hedge_cost_usd": 0.0,
            "key_name": "Ada",
        },
    ]
    assert found["total"]["cost_usd"] == 2.500005


def test_a_time_without_records_is_told(run: Run) -> None:
    assert run("--to", "2020-01-30").stdout == "2020-01-01 to 2020-01-30 (UTC): nothing was used\n"
    assert json.loads(run("--to", "2020-01-30", "--json").stdout)["total"]["requests"] == 0


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--by", "colour"), "--by: must be"),
        (("--by", ""), "--by: must be"),
        (("--by", "day,day"), "--by: must be"),
        (("--from", "yesterday"), "--from: must be a day"),
        (("--to", "1969-12-31"), "--to: must be a day"),
        (("--from", "2027-01-02", "--to", "2027-01-01"), "--from: 2027-01-02 is after --to"),
    ],
)
def test_bad_options_are_one_line(run: Run, options: tuple[str, ...], fault: str) -> None:
    ended = run(*options)
    assert ended.exit_code == 2
    assert ended.stderr.startswith(f"rivergate: {fault}")
    assert ended.stdout == ""


def test_keys_need_no_secret_of_an_upstream_either(run: Run, tmp_path: Path) -> None:
    file = str(tmp_path / "rivergate.toml")
    made = CliRunner().invoke(app, ["keys", "create", "--name", "Bob", "-c", file])
    assert made.exit_code == 0, made.output
    listed = CliRunner().invoke(app, ["keys", "list", "-c", file])
    assert [line.split()[1] for line in listed.stdout.splitlines()] == ["name", "Bob", "Ada"]


def test_a_token_needs_no_secret_of_an_upstream_either(tmp_path: Path, run: Run) -> None:
    ended = CliRunner().invoke(app, ["token", "feed:statistics", "-c", str(tmp_path / "rivergate.toml")])
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.startswith("rgv_")


def test_a_token_may_be_for_several_streams_and_feeds(tmp_path: Path, run: Run) -> None:
    ended = CliRunner().invoke(app, ["token", "st_1", "feed:news", "-c", str(tmp_path / "rivergate.toml")])
    [file] = tmp_path.glob("*.token-keys")
    token = read_token(ended.stdout.strip(), token_keys.load(file.with_suffix("")), 0)
    assert [token.may_read(audience) for audience in ("stream:st_1", "feed:news", "stream:st_2")] == [
        True,
        True,
        False,
    ]
