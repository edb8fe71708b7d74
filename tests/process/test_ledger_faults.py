"""A ledger that cannot be written, a process that is killed, a key that is revoked from outside."""

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.access.sqlite_books import SqliteBooks
from tests.access.books import balances, rows
from tests.kit.completions import ENDLESS, MODEL, QUICK, body
from tests.kit.configuration import KEYS
from tests.kit.http_client import Answer, RawClient, call, fetch
from tests.kit.keyring import Keyring, MadeKey, prompt_cost
from tests.kit.process import Command, GatewayProcess
from tests.kit.sse_client import Subscriber
from tests.kit.streams import create
from tests.kit.upstreams import Upstream
from tests.kit.waiting import wait_for

pytestmark = pytest.mark.deep

LONG = {"ttft_ms": 5, "gap_ms": 20, "tokens": 500}  # an answer that takes ten seconds
REVOKED_SECONDS = 5.0
CHECKED_SECONDS = 30.0  # several times as long as a full disk can go unnoticed
KILLS = 3
_SUMS = "SELECT count(*), sum(cost_microusd + hedge_cost_microusd) FROM usage WHERE key_id = '{}'"


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory, alpha: Upstream) -> Keyring:
    server = '[server]\nlisten = "127.0.0.1:0"\ndrain_seconds = 0.5\n'
    return Keyring(tmp_path_factory.mktemp("keys"), [(alpha, [MODEL, "gpt-4o"])], server)


@pytest.fixture(scope="module")
def gateway(logs: Path, keyring: Keyring) -> Iterator[GatewayProcess]:
    keyring.create("the first one, so that the gate is closed")
    gateway = GatewayProcess(logs, keyring.configuration, KEYS)
    try:
        yield gateway
    finally:
        gateway.close()


@pytest.fixture
def key(keyring: Keyring) -> MadeKey:
    """A key without any limit."""
    return keyring.create()


def test_a_revocation_on_the_command_line_works_in_a_running_gateway(
    gateway: GatewayProcess, logs: Path, keyring: Keyring, key: MadeKey
) -> None:
    assert call(gateway, "GET", "/v1/me", Authorization=key.bearer).status == 200
    stream = create(gateway, LONG, Authorization=key.bearer)
    with Subscriber(gateway.port, stream["viewer_url"]) as running:
        running.events(2)
        command = Command(logs, "keys", "revoke", key.id, "--config", str(keyring.file), environment=KEYS)
        assert command.wait() == 0
        assert command.output() == f"{key.id} is revoked\n"

        def is_refused() -> bool:
            return call(gateway, "GET", "/v1/me", Authorization=key.bearer).status == 401

        wait_for(is_refused, "a refusal", REVOKED_SECONDS)
        running.events(2)  # a stream that runs already goes on
    assert fetch(gateway.port, body(QUICK), Authorization=key.bearer).status == 401


# --- a disk that refuses, a process that dies


def limit_files(gateway: GatewayProcess, size: int) -> None:
    """Limit the files of this process to `size` bytes: for the process the disk is full, even if root runs it."""
    resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def with_a_long_journal(keyring: Keyring, gateway: GatewayProcess, key: MadeKey) -> int:
    """Ask until the ledger's journal is longer than the log of the process; returns the journal's length."""
    for _ in range(10):
        fetch(gateway.port, body(QUICK), Authorization=key.bearer)
    keyring.records(key, 10)
    return keyring.path.with_name("keys.db-wal").stat().st_size


def test_with_a_full_disk_what_runs_goes_on_and_is_settled_when_there_is_room(
    logs: Path, tmp_path: Path, alpha: Upstream
) -> None:
    keyring = Keyring(tmp_path, [(alpha, [MODEL])])
    key = keyring.create(balance_usd="1")
    gateway = GatewayProcess(logs, keyring.configuration, KEYS)
    try:
        journal = with_a_long_journal(keyring, gateway, key)
        with RawClient(gateway.port) as running:
            running.post(body({"ttft_ms": 5, "gap_ms": 20, "tokens": 100_000}, stream=True), Authorization=key.bearer)
            stream_id = running.head().headers["x-stream-id"]
            limit_files(gateway, journal)
            wait_for(lambda: call(gateway, "GET", "/readyz").status == 503, "readiness to fail", CHECKED_SECONDS)
            gateway.wait_for_event("the ledger cannot be written; new requests of keys are refused")
            refused = fetch(gateway.port, body(QUICK, stream=True), Authorization=key.bearer)
            assert (refused.status, refused.error()["code"]) == (503, "service_unavailable")
            assert int(refused.headers["retry-after"]) >= 1
            assert call(gateway, "GET", "/healthz").status == 200
            assert running.chunk()
            call(gateway, "DELETE", f"/v1/streams/{stream_id}", Authorization=key.bearer)
            rest = Answer(200, {}, b"".join(iter(running.chunk, b"")))
            assert rest.events()[-2]["error"]["code"] == "stream_aborted"
        assert len(keyring.records(key)) == 10
        limit_files(gateway, resource.RLIM_INFINITY)
        wait_for(lambda: call(gateway, "GET", "/readyz").status == 200, "readiness to come back")
        records = keyring.records(key, 11)
        assert keyring.balance(key) == 1_000_000 - keyring.spent(key)
        assert {record["ending"] for record in records} == {"completed", "stopped"}
        gateway.wait_for_event("the ledger can be written again")
        assert fetch(gateway.port, body(QUICK), Authorization=key.bearer).status == 200
    finally:
        gateway.close()


def test_a_full_disk_is_noticed_before_anybody_asks(logs: Path, tmp_path: Path, alpha: Upstream) -> None:
    keyring = Keyring(tmp_path, [(alpha, [MODEL])])
    key = keyring.create()
    gateway = GatewayProcess(logs, keyring.configuration, KEYS)
    try:
        limit_files(gateway, with_a_long_journal(keyring, gateway, key))
        wait_for(lambda: call(gateway, "GET", "/readyz").status == 503, "readiness to fail", CHECKED_SECONDS)
        refused = fetch(gateway.port, body(QUICK), Authorization=key.bearer)
        assert (refused.status, refused.error()["code"]) == (503, "service_unavailable")
        limit_files(gateway, resource.RLIM_INFINITY)
        wait_for(lambda: call(gateway, "GET", "/readyz").status == 200, "readiness to come back", CHECKED_SECONDS)
        assert len(keyring.records(key)) == 10
    finally:
        gateway.close()


def test_what_a_full_disk_keeps_from_the_ledger_at_a_stop_is_in_the_log(
    logs: Path, tmp_path: Path, alpha: Upstream
) -> None:
    keyring = Keyring(tmp_path, [(alpha, [MODEL])], '[server]\nlisten = "127.0.0.1:0"\ndrain_seconds = 0\n')
    key = keyring.create(balance_usd="1")
    gateway = GatewayProcess(logs, keyring.configuration, KEYS)
    try:
        journal = with_a_long_journal(keyring, gateway, key)
        with RawClient(gateway.port) as running:
            running.post(body(ENDLESS, stream=True), Authorization=key.bearer)
            headers = running.head().headers
            limit_files(gateway, journal)
            gateway.close()
    finally:
        gateway.close()
    [line] = [item for item in gateway.lines() if item["event"] == "a record is not in the ledger; book it by hand"]
    assert line["level"] == "error"
    found = line["record"]
    assert (found["id"], found["request_id"]) == (headers["x-stream-id"], headers["x-request-id"])
    assert (found["key_id"], found["model"], found["ending"]) == (key.id, MODEL, "drained")
    assert found["cost_microusd"] > prompt_cost(body(ENDLESS, stream=True))
    assert len(keyring.records(key)) == 10


class Load:
    """Clients that ask for short completions, one after the other, until the gateway is gone."""

    def __init__(self, gateway: GatewayProcess, key: MadeKey) -> None:
        self.answered = 0
        self._gateway, self._key = gateway, key
        self._threads = [threading.Thread(target=self._ask) for _ in range(8)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with suppress(OSError, EOFError):
            while True:
                status = fetch(self._gateway.port, body(QUICK), Authorization=self._key.bearer).status
                assert status == 200
                self.answered += 1


def test_a_gateway_that_is_killed_in_mid_write_books_nothing_twice_and_nothing_by_halves(
    logs: Path, tmp_path: Path, alpha: Upstream
) -> None:
    keyring = Keyring(tmp_path, [(alpha, [MODEL])])
    key = keyring.create(balance_usd="100")
    kept: list[str] = []
    answered = 0
    for number in range(KILLS):
        gateway = GatewayProcess(logs, keyring.configuration, KEYS)
        load = Load(gateway, key)
        try:
            # Each gateway is killed at another moment, while records are written.
            wait_for(lambda: load.answered >= 5 + 17 * number, "some answers")  # noqa: B023
            wait_for(lambda: len(keyring.records(key)) > len(kept), "a record")  # noqa: B023
        finally:
            gateway.process.send_signal(signal.SIGKILL)
            gateway.close()
            load.join()
        answered += load.answered
        ledger = SqliteBooks.open(keyring.path)
        assert rows(keyring.path, "PRAGMA integrity_check") == [("ok",)]
        found = [record["id"] for record in keyring.records(key)]
        assert found[: len(kept)] == kept  # records that were in the ledger before the kill stay
        assert len(set(found)) == len(found)
        assert rows(keyring.path, _SUMS.format(key.id)) == [(len(found), keyring.spent(key))]
        assert balances(keyring.path)[key.id] == 100_000_000 - keyring.spent(key)
        ledger.close()
        kept = found
    assert len(kept) <= answered + KILLS * 8
    gateway = GatewayProcess(logs, keyring.configuration, KEYS)
    try:
        assert fetch(gateway.port, body(QUICK), Authorization=key.bearer).status == 200
        keyring.records(key, len(kept) + 1)
        assert keyring.balance(key) == 100_000_000 - keyring.spent(key)
    finally:
        gateway.close()
