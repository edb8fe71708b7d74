"""Wiring: how soon after the last subscriber has closed does the upstream see the close?

Clients leave before the first token and in mid-stream, by FIN and by RST, alone and while other streams run: on the
gateway, on nginx (`proxy_buffering off`) and, as "direct", on the upstream itself. All peers run on one core, the
load on another, and they take turns. Both ends of a close are of this process and its one clock.
"""

import contextlib
from dataclasses import replace
from typing import Any

from bench.kit.command import Bench, Given, Turns, rounds, servers
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
    turns, delays = Turns[Server]("start", {}), dict[str, dict[str, Delays]]()
    plan = replace(LEAVING, turns=given.aborts // given.rounds * len(RESETS))
    warm_up = replace(LEAVING, turns=WARM_UP_ABORTS * len(RESETS))

    def turn(server: Server, company: str, others: Plan | None) -> None:
        kept = delays.setdefault(server.name, {}).setdefault(company, {})
        for exchange in server.run(load, plan, others).exchanges:
            kept.setdefault(kind(exchange), []).append(exchange.lost_at - exchange.left_at)

    with (
        contextlib.closing(Load()) as load,
        servers(turns, load, [Peer(GATEWAY), Peer(NGINX)], cores[0], warm_up),
    ):
        for turns.label in rounds(given):
            turns.take(ALONE, turn, ALONE, None)
            turns.take(BESIDE, turn, BESIDE, replace(COMPANY, streams=given.others))
            turns.reverse()
    peers = {name: {company: _figures(kinds) for company, kinds in found.items()} for name, found in delays.items()}
    return {"peers": peers, "failures": turns.failures}


def _figures(delays: Delays) -> dict[str, Figures]:
    return {kind: {"aborts": len(seconds), **times_ms(seconds)} for kind, seconds in sorted(delays.items())}


BENCH = Bench("abort", __doc__, measure)
BENCH.run_as(__name__)
