"""Wiring: how soon after the last subscriber has closed does the upstream see the close?

    python -m bench.abort [--aborts 300] [--others 100] [--rounds 3] [--json FILE]

Clients leave before the first token and in mid-stream, by FIN and by RST, alone and while other streams run: on the
gateway, on nginx (`proxy_buffering off`) and, as "direct", on the upstream itself. All peers run on one core, the
load on another, and they take turns. Both ends of a close are of this process and its one clock.
"""

import contextlib
import sys
from dataclasses import replace
from functools import partial
from typing import Any

from bench.kit.command import Bench, Given, start_all, take_turns
from bench.kit.figures import Figures, times_ms
from bench.kit.load import Load, Plan
from bench.kit.peers import GATEWAY, NGINX, Peer, Server
from bench.kit.script import Exchange, Speech

ALONE, BESIDE = "alone", "beside"
WARM_UP_ABORTS = 10
# Four ways of leaving, in turn: before the first token and in mid-stream, by FIN and by RST. Of the upstreams that
# have sent no token yet, half have sent their head and the role, the other half nothing at all.
SPEECH = (*(Speech.NOTHING, Speech.ALL) * 2, *(Speech.ROLE, Speech.ALL) * 2)
RESETS = (False, False, True, True)
LEAVING = Plan(1, tokens=2000, gap=0.002, pause=0.0005, speech=SPEECH, resets=RESETS)  # left long before their end
COMPANY = Plan(1, tokens=20, gap=0.025, spread=0.5, turns=1_000_000, pause=0.0005)  # half a second, again and again
Delays = dict[str, list[float]]  # by kind: seconds from the client's close to the upstream's sight of it


def kind(exchange: Exchange) -> str:
    return f"{'mid' if exchange.speech is Speech.ALL else 'before'}_{'rst' if exchange.reset else 'fin'}"


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    failures: dict[str, str] = {}
    delays: dict[str, dict[str, Delays]] = {}
    with contextlib.closing(Load()) as load, contextlib.ExitStack() as stack:

        def turn(server: Server, company: str, aborts: int, others: int) -> None:
            plan = replace(LEAVING, turns=aborts * len(RESETS))
            outcome = server.run(load, plan, replace(COMPANY, streams=others) if others else None)
            kept = delays.setdefault(server.name, {}).setdefault(company, {})
            for exchange in outcome.exchanges:
                kept.setdefault(kind(exchange), []).append(exchange.lost_at - exchange.left_at)

        entries = start_all(stack, load, [Peer(GATEWAY), Peer(NGINX)], cores[0], failures)
        warm_up = replace(LEAVING, turns=WARM_UP_ABORTS * len(RESETS))
        take_turns("warm-up", entries, partial(Server.run, load=load, plan=warm_up), failures)
        for number in range(1, given.rounds + 1):
            for company, others in ((ALONE, 0), (BESIDE, given.others)):
                step = f"round {number}/{given.rounds}: {company}"
                take_turns(
                    step,
                    entries,
                    partial(turn, company=company, aborts=given.aborts // given.rounds, others=others),
                    failures,
                )
            entries = dict(reversed(entries.items()))
    return {
        "peers": {
            name: {
                company: {kind: _figures(kinds[kind]) for kind in sorted(kinds)} for company, kinds in found.items()
            }
            for name, found in delays.items()
        },
        "failures": failures,
    }


def _figures(delays: list[float]) -> Figures:
    return {"aborts": len(delays), **times_ms(delays)}


BENCH = Bench("abort", __doc__, measure)

if __name__ == "__main__":
    sys.exit(BENCH.main())
