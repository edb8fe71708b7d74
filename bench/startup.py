"""Wiring: how soon after its start does the gateway take requests?

    python -m bench.startup [--rounds 10] [--json FILE]

From exec to `/readyz` answering 200. The first start, which may have to compile or to read from the disk, does not
count.
"""

import contextlib
import sys
import time
from typing import Any

from bench.kit.command import Bench, Given, reporting, say
from bench.kit.figures import Figures, Results
from bench.kit.loop import clock
from bench.kit.peers import GATEWAY, Peer, PeerFailure, ask, free_port, started

PATIENCE = 20.0
ASK_AGAIN = 0.001


def start_gateway(core: int) -> Figures:
    """One start, timed, and its end. Raises `PeerFailure`."""
    with started(Peer(GATEWAY), free_port(), core) as server:
        while (seconds := clock() - server.begun) < PATIENCE:
            with contextlib.suppress(OSError):
                ask(server.target.port, "/readyz")
                return {"ready_seconds": clock() - server.begun, "cpu_seconds": server.cpu()}
            time.sleep(ASK_AGAIN)
        raise PeerFailure(f"{GATEWAY}: /readyz is not 200 after {seconds:.0f} s")


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    results = Results()
    with reporting(results.failures, GATEWAY):
        for number in range(given.rounds + 1):
            say(f"start {number}/{given.rounds}")
            figures = start_gateway(cores[0])
            if number:
                results.add(GATEWAY, figures)
    return {"peers": {name: results.spreads(name) for name in results.rounds}, "failures": results.failures}


BENCH = Bench("startup", __doc__, measure)

if __name__ == "__main__":
    sys.exit(BENCH.main())
