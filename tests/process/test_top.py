"""`rivergate top`: one picture for scripts, clear words when there is none, and a clean end."""

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kit.completions import ENDLESS, MODEL, QUICK, body
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.http_client import call, fetch
from tests.kit.keyring import Keyring
from tests.kit.process import Command
from tests.kit.raw_upstream import RawUpstream
from tests.kit.streams import create
from tests.kit.upstreams import ClosedPort, Upstream

pytestmark = pytest.mark.deep

WIDE = {"COLUMNS": "140"}

Run = Callable[..., Command]


@pytest.fixture(scope="module")
def gateway(logs: Path, alpha: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGateway]:
    storage = f'[storage]\npath = "{tmp_path_factory.mktemp("top")}/t.db"\n'
    gateway = LocalGateway(logs, configuration([(alpha, [MODEL])], storage), KEYS)
    try:
        yield gateway
    finally:
        gateway.close()


@pytest.fixture(scope="module")
def closed(
    logs: Path, alpha: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Gateway, Keyring]]:
    keyring = Keyring(tmp_path_factory.mktemp("top-keys"), [(alpha, [MODEL])])
    keyring.create()
    gateway = keyring.start(logs)
    try:
        yield gateway, keyring
    finally:
        gateway.close()


@pytest.fixture
def run(logs: Path) -> Iterator[Run]:
    """A function that starts a command; the command is stopped at the end of the test."""
    started: list[Command] = []

    def start(*arguments: str, environment: dict[str, str] | None = None) -> Command:
        started.append(Command(logs, *arguments, environment=environment))
        return started[-1]

    yield start
    for command in started:
        command.terminate()


def address(gateway: Gateway) -> str:
    return f"http://127.0.0.1:{gateway.port}"


def refusal(command: Command) -> str:
    """The only line that a command prints when it gives up."""
    assert command.wait() == 2
    assert command.output() == ""
    [line] = command.errors().splitlines()
    assert line.startswith("rivergate: ")
    return line


def minted(run: Run, keyring: Keyring, audience: str) -> str:
    command = run("token", audience, "--config", str(keyring.file), environment=KEYS)
    assert command.wait() == 0
    return command.output().strip()


def test_once_prints_one_picture_and_exits(run: Run, gateway: Gateway) -> None:
    stream = create(gateway, ENDLESS)
    command = run("top", "--once", "--url", address(gateway), environment=WIDE)
    assert command.wait() == 0
    assert command.errors() == ""
    picture = command.output()
    assert picture.count("Rivergate ") == 1
    [row] = [line for line in picture.splitlines() if line.startswith(stream["id"])]
    assert row.split()[:7] == [stream["id"], MODEL, "chat", "streaming", "alpha", "0", "0"]
    assert "\x1b" not in picture
    call(gateway, "DELETE", f"/v1/streams/{stream['id']}")


@pytest.mark.parametrize("columns", [80, 100, 140])
def test_the_last_errors_of_upstreams_are_shown(run: Run, gateway: Gateway, columns: int) -> None:
    assert fetch(gateway.port, body({"status": 507}, stream=True)).status == 502
    command = run("top", "--once", "--url", address(gateway), environment={"COLUMNS": str(columns)})
    assert command.wait() == 0
    [row] = [line for line in command.output().splitlines() if " 507   HTTP 507 " in line]
    assert row.startswith("alpha")
    assert "upstream error" in row
    assert re.search(r" 507 +HTTP 507 +\d+ +\d+ s$", row.rstrip())
    assert (MODEL in row) is (columns == 140)
    assert max(map(len, command.output().splitlines())) <= columns


def test_a_base_url_of_a_client_will_do(run: Run, gateway: Gateway) -> None:
    command = run("top", "--once", "--url", gateway.url)
    assert command.wait() == 0
    assert max(map(len, command.output().splitlines())) <= 80


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_top_cleanly(run: Run, gateway: Gateway, number: signal.Signals) -> None:
    create(gateway, QUICK)
    command = run("top", "--url", address(gateway))
    command.wait_for_output(r"(?s)Rivergate .*Rivergate ")
    command.process.send_signal(number)
    assert command.wait() == 0
    assert command.errors() == ""


def test_top_says_that_nobody_listens(run: Run) -> None:
    port = ClosedPort()
    line = refusal(run("top", "--url", port.base_url))
    port.close()
    assert "Connection refused" in line
    assert port.base_url in line


def test_top_refuses_what_is_no_address(run: Run) -> None:
    assert "--url nonsense" in refusal(run("top", "--url", "nonsense"))


def test_top_says_when_it_talks_to_something_else(run: Run, alpha: Upstream) -> None:
    url = alpha.base_url.removesuffix("/v1")
    assert f"{url} answers 404" in refusal(run("top", "--url", url))


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /v1/feeds/statistics/events?again=1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"",
    ],
    ids=["no HTTP", "redirects without end", "nothing there", "hung up"],
)
def test_top_repeats_neither_its_token_nor_a_password(run: Run, answer: bytes) -> None:
    other = RawUpstream(lambda request: answer)
    place = other.base_url.removesuffix("/v1").removeprefix("http://")
    try:
        line = refusal(
            run("top", "--once", "--url", f"http://ada:word-1234@{place}?token=rgv_x", "--token", "rgv_abc")
        )
    finally:
        other.close()
    assert f"http://{place}" in line
    assert [secret for secret in ("word-1234", "rgv_") if secret in line] == []


def test_an_api_key_is_enough(run: Run, closed: tuple[Gateway, Keyring]) -> None:
    gateway, keyring = closed
    key = keyring.create()
    command = run("top", "--once", "--url", address(gateway), environment={"RIVERGATE_API_KEY": key.secret})
    assert command.wait() == 0
    assert "with API keys" in command.output()
    line = refusal(run("top", "--once", "--url", address(gateway), "--key", "rg_wrong"))
    assert "401" in line
    assert "rg_wrong" not in line


def test_with_keys_top_wants_a_key_or_a_token_and_says_how_to_mint_it(
    run: Run, closed: tuple[Gateway, Keyring]
) -> None:
    gateway, _ = closed
    line = refusal(run("top", "--once", "--url", address(gateway)))
    assert "401" in line
    assert "RIVERGATE_API_KEY" in line
    assert "rivergate token feed:statistics" in line


def test_a_token_for_something_else_is_refused(run: Run, closed: tuple[Gateway, Keyring]) -> None:
    gateway, keyring = closed
    other = minted(run, keyring, "feed:ticker")
    line = refusal(run("top", "--once", "--url", address(gateway), "--token", other))
    assert "403" in line
    assert "rivergate token feed:statistics" in line
    assert other not in line


def test_a_token_for_the_statistics_opens_the_feed(run: Run, closed: tuple[Gateway, Keyring]) -> None:
    gateway, keyring = closed
    token = minted(run, keyring, "feed:statistics")
    command = run("top", "--once", "--url", address(gateway), "--token", token)
    assert command.wait() == 0
    assert "with API keys" in command.output()
