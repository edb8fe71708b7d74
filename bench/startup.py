"""Wiring: how soon after its start does the gateway take requests?

From exec to `/readyz` answering 200. The first start, which may have to compile or to read from the disk, does not
count.
"""

from typing import Any

from bench.kit.command import Bench, Given, reporting, rounds, say
from bench.kit.figures import Figures, Results
from bench.kit.loop import clock
from bench.kit.peers import GATEWAY, Peer, ask, free_port, started


def start_gateway(core: int) -> Figures:
    """One start, timed, and its end. Raises `PeerFailure`, and `OSError` if it listens and is not ready."""
    with started(Peer(GATEWAY), free_port(), core) as server:
        ask(server.target.port, "/readyz")
        return {"ready_seconds": clock() - server.begun, "cpu_seconds": server.cpu()}


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    results = Results()
    with reporting(results.failures, GATEWAY):
        start_gateway(cores[0])
        for label in rounds(given):
            say(label)
            results.add(GATEWAY, start_gateway(cores[0]))
    return results.json()


BENCH = Bench("startup", __doc__, measure)
BENCH.run_as(__name__)
