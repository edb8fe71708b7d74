"""Wiring: how soon after its start does the gateway take requests?

From exec to `/readyz` answering 200, beside programs that are ready when they listen: "imports", which is only the
packages that the gateway cannot do without and a socket, a plain aiohttp proxy, and further gateways by `--peer`. The
first start, which may have to compile or to read from the disk, does not count.
"""

from typing import Any

from bench.kit.command import Bench, Given, reporting, rounds, say
from bench.kit.figures import Figures, Results
from bench.kit.loop import clock
from bench.kit.peers import AIOHTTP, GATEWAY, IMPORTS, Peer, ask, free_port, started
from bench.requests import commanded

FIRST = "the first start"


def start(peer: Peer, core: int) -> Figures:
    """One start, timed, and its end. Raises `PeerFailure`, and `OSError` if it listens and is not ready."""
    with started(peer, free_port(), core) as server:
        if peer.name == GATEWAY:
            ask(server.target.port, "/readyz")
        return {"ready_seconds": clock() - server.begun, "cpu_seconds": server.cpu()}


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    results, line_up = Results(), [*map(Peer, (GATEWAY, IMPORTS, AIOHTTP)), *given.peer]
    for label in (FIRST, *rounds(given)):
        for peer in [peer for peer in line_up if peer.name not in results.failures]:
            say(f"{label}: {peer.name}")
            with reporting(results.failures, peer.name):
                figures = start(peer, cores[0])
                if label != FIRST:
                    results.add(peer.name, figures)
    return results.json([(IMPORTS, "ready_seconds")])


BENCH = Bench("startup", __doc__, measure, {"peer": commanded})
BENCH.run_as(__name__)
