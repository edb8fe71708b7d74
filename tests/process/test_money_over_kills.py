"""A gateway is killed again and again while random clients ask, leave and hedge: the records are what is lost."""

import random
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.access.books import rows
from tests.kit.completions import MODEL, body
from tests.kit.configuration import KEYS
from tests.kit.http_client import RawClient
from tests.kit.keyring import Keyring, MadeKey
from tests.kit.process import GatewayProcess
from tests.kit.upstreams import Upstreams
from tests.kit.waiting import wait_for

pytestmark = pytest.mark.deep

SERVER = '[server]\nlisten = "127.0.0.1:0"\n[ttft]\nhedge_after = 5\nhedge_max_share = 1.0\n'
CLIENTS = 8
LIVES = (25, 70, 200)  # how many requests the clients of each gateway send before it is killed
BALANCE_USD = "0.06"
# Micro-dollars by which one answer may cost more than it had reserved: the event that uses the balance up, and what
# the provider counts of the prompt beyond the gateway's estimate (30 tokens at two upstreams).
EXCESS = 10 + 2 * 75
_SPENT = "SELECT coalesce(sum(cost_microusd + hedge_cost_microusd), 0), count(*), count(DISTINCT id) FROM usage"
BEHAVIOURS: list[dict[str, Any]] = [
    {"tokens": 8},
    {"tokens": 60},
    {"tokens": 40, "reasoning_tokens": 20},
    {"tokens": 3000},
    {"ttft_ms": 15, "tokens": 20},
    {"stall_before": "head"},
    {"stall_after": 3},
    {"cut_after": 2},
    {"error_after": 2},
    {"status": 500},
]


class RandomClient:
    """A client that asks for one random answer after the other until the gateway is gone."""

    def __init__(self, gateway: GatewayProcess, key: MadeKey, seed: int) -> None:
        self._gateway, self._key, self._random = gateway, key, random.Random(seed)
        self.asked = 0
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        with suppress(OSError, EOFError):
            while True:
                self._ask()

    def _ask(self) -> None:
        draw = self._random
        request = body({"ttft_ms": 1, "gap_ms": 1, **draw.choice(BEHAVIOURS)}, stream=draw.random() < 0.7)
        request["messages"][0]["content"] += "x" * draw.randrange(3000)
        request |= draw.choice([{}, {}, {"max_tokens": draw.randrange(1, 50)}, {"n": 2}])
        shared = {"X-Stream-Key": "shared"} if request["stream"] and draw.random() < 0.1 else {}
        with RawClient(self._gateway.port) as client:
            self.asked += 1
            client.post(request, Authorization=self._key.bearer, Connection="close", **shared)
            client.socket.settimeout(draw.uniform(0.005, 0.3))
            with suppress(TimeoutError):
                while client.socket.recv(65536):
                    pass


@pytest.mark.parametrize("seed", [1, 2])
def test_over_kills_the_records_are_what_the_balance_has_lost(
    logs: Path, tmp_path: Path, upstreams: Upstreams, seed: int
) -> None:
    served = [(upstreams.start(f"money-{seed}-{name}"), [MODEL]) for name in "ab"]
    keyring = Keyring(tmp_path, served, SERVER)
    key = keyring.create(balance_usd=BALANCE_USD)
    start = keyring.balance(key)
    assert start is not None
    count = 0
    for life, requests in enumerate(LIVES):
        gateway = GatewayProcess(logs, keyring.configuration, KEYS)
        clients = [RandomClient(gateway, key, 1000 * seed + 10 * life + number) for number in range(CLIENTS)]
        try:
            wait_for(lambda: sum(client.asked for client in clients) >= requests, "requests")  # noqa: B023
            wait_for(lambda: rows(keyring.path, _SPENT)[0][1] > 0, "a record")
        finally:
            gateway.process.send_signal(signal.SIGKILL)
            gateway.close()
            for client in clients:
                client.thread.join()
        [(spent, records, distinct)] = rows(keyring.path, _SPENT)
        balance = keyring.balance(key)
        assert balance is not None
        assert balance == start - spent
        assert balance >= -CLIENTS * EXCESS * (life + 1)
        assert records == distinct >= count
        count = records
    assert count > 0
