"""What hedging makes of an upstream's slow answers: the real parts in made-up time, the same at every run."""

import heapq
from collections.abc import Callable
from itertools import count

import pytest

from gateway.routing.health import Health
from gateway.routing.race import Cancel, CancelReason, Command, Race, RaceRules, Start
from gateway.routing.throttle import Throttle
from gateway.simulate import Script
from gateway.simulate.dice import settled

RATE = 120.0  # requests a second
WARM_UP, REQUESTS = 300, 1200
SHARE = 0.1  # the share of the requests that may be hedged


class Line:
    """Requests to two upstreams: some answers of the first are slow, and the second is asked when one is late."""

    def __init__(self, slow_share: float, seed: int) -> None:
        usual = {"ttft_ms": 100.0, "ttft_jitter_ms": 10.0, "slow_ttft_ms": 1000.0, "slow_share": slow_share}
        fast = {"ttft_ms": 60.0, "ttft_jitter_ms": 5.0, "seed": seed + 1}
        self.scripts = Script.parse({**usual, "seed": seed}), Script.parse(fast)
        self.health = Health(), Health()
        self.asked = [0, 0]
        self.throttle = Throttle(SHARE)
        self.ttfts: list[float] = []
        self._due: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()

    def play(self) -> None:
        for number in range(WARM_UP + REQUESTS):
            self.at(number / RATE, lambda now: Request(self).begin(now))
        while self._due:
            now, _, call = heapq.heappop(self._due)
            call(now)

    def at(self, when: float, call: Callable[[float], None]) -> None:
        heapq.heappush(self._due, (when, next(self._order), call))

    def quantile(self, share: float) -> float:
        """A quantile of the TTFT after the warm-up, in seconds."""
        ttfts = sorted(self.ttfts[WARM_UP:])
        return ttfts[int(share * len(ttfts))]


class Request:
    """One request, as the dispatcher leads it."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.running: dict[int, tuple[int, int, float, bool]] = {}  # candidate, number, start, hedge
        self.won_from = 0.0

    def begin(self, now: float) -> None:
        self.began = now
        rules = RaceRules(hedge_after=(self.line.health[0].tail(now), None), hedge_order=(1, 0))
        self.race = Race(2, rules, self.line.throttle)
        self.obey(self.race.on_go(now), now)
        if self.race.wake_at is not None:
            self.line.at(self.race.wake_at, lambda at: self.obey(self.race.on_time(at), at))

    def obey(self, commands: list[Command], now: float) -> None:
        for command in commands:
            if isinstance(command, Start):
                self.start(command, now)
            elif isinstance(command, Cancel):
                candidate, number, started, hedge = self.running.pop(command.attempt)
                waited = self.won_from - started if command.reason is CancelReason.LOST and not hedge else None
                self.line.health[candidate].on_given_up(number, waited, now)

    def start(self, command: Start, now: float) -> None:
        line, candidate = self.line, command.candidate
        line.asked[candidate] += 1
        self.running[command.attempt] = candidate, line.health[candidate].on_start(now), now, command.hedge
        wait = settled(line.scripts[candidate], line.asked[candidate]).ttft_ms / 1000
        line.at(now + wait, lambda at: self.on_content(command.attempt, at))

    def on_content(self, attempt: int, now: float) -> None:
        if attempt not in self.running:
            return
        candidate, number, self.won_from, _ = self.running.pop(attempt)
        self.line.ttfts.append(now - self.began)
        self.line.health[candidate].on_content(number, now - self.won_from, now)
        self.obey(self.race.on_content(attempt), now)
        self.line.health[candidate].on_complete(None, now)


@pytest.mark.parametrize("slow_share", [0.05, 0.06, 0.08])
@pytest.mark.parametrize("seed", [1, 2, 3, 14])
def test_the_slowest_of_a_hundred_wait_no_longer_than_twice_the_middle(slow_share: float, seed: int) -> None:
    line = Line(slow_share, seed)
    line.play()
    assert len(line.ttfts) == WARM_UP + REQUESTS
    assert line.quantile(0.99) <= 2 * line.quantile(0.5)
    assert line.asked[1] <= SHARE * len(line.ttfts)
