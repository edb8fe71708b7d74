"""Wiring: a request's models and options become a route: whom to ask, in which order, by which rules.

In: what the client asks, what the configuration has by default, what is known of the upstreams now. Out: a `Route`,
or the error that says why there is none.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gateway.config import RoutingSettings, TtftSettings
from gateway.errors import NoProviderAvailable, RateLimited, RivergateError
from gateway.routing import race
from gateway.routing.catalog import Candidate, Catalog
from gateway.routing.options import SHORTCUTS, RoutingOptions, Warning_, warnings
from gateway.routing.strategies import Offer, Ranking, check_provider_names, rank
from gateway.routing.throttle import Throttle
from gateway.upstream.error_body import MAX_RETRY_AFTER

# Options that may refuse even the only upstream there is, or have a word to say about it.
_CHOOSING = frozenset(
    {"providers", "exclude_providers", "prefer", "max_cost_per_1m", "max_ttft_ms", "min_throughput_tps"}
)
ALL_ATTEMPTS = 20  # when nothing else limits them


@dataclass(frozen=True, slots=True)
class Ask:
    """What a client wants. `budget_ms`: to the first token, None: the server's default, 0: none.

    `models_field`, `options_field`: where in the request the models and the options stand.
    """

    model_ids: Sequence[str]
    options: RoutingOptions
    streamed: bool = True
    budget_ms: int | None = None
    models_field: str = "model"
    options_field: str = "gateway.routing"

    @property
    def is_plain(self) -> bool:
        """Whether it asks for one model and nothing else."""
        return len(self.model_ids) == 1 and self.budget_ms is None and not self.options.model_fields_set


@dataclass(frozen=True, slots=True)
class Route:
    """Who is asked, in this order, and by which rules."""

    candidates: tuple[Candidate, ...]
    strategy: str
    rules: race.RaceRules
    throttle: Throttle
    warnings: tuple[Warning_, ...] = ()


class Router:
    """Knows every upstream, and how each has done lately."""

    def __init__(
        self,
        catalog: Catalog,
        routing: RoutingSettings,
        ttft: TtftSettings,
        dice: Callable[[], float],
        jitter: Callable[[], float],
        throttle: Throttle,
    ) -> None:
        self.catalog = catalog
        self.throttle = throttle
        self._routing = routing
        self._ttft = ttft
        self._dice = dice  # 0.0 to 1.0, for equal offers
        self._jitter = jitter  # 0.0 to 1.0, for Retry-After
        self._only: dict[tuple[str, bool], Route] = {}  # the routes of plain requests that have no choice
        self._upstreams = list(dict.fromkeys(one.endpoint.name for one in catalog.all()))

    def route(self, ask: Ask, now: float) -> Route:
        """The route of one request. Raises `ClientError`, or `NoProviderAvailable` while all are left alone."""
        asked = (ask.model_ids[0], ask.streamed)
        if not ask.is_plain:
            return self._choose(ask, now)
        if (only := self._only.get(asked)) is None:
            route = self._choose(ask, now)
            if self._has_no_choice(asked):
                self._only[asked] = route
            return route
        if only.candidates[0].health.wait(now) > 0:
            raise self._unavailable(list(only.candidates), now)
        return only

    def _has_no_choice(self, asked: tuple[str, bool]) -> bool:
        """Whether a plain request for this always has the same route: one upstream, and nobody to hedge with."""
        model_id, streamed = asked
        hedged = streamed and self._ttft.hedge_after != "off"
        return not hedged and len(self.catalog.candidates(self._model(model_id)[0])) == 1

    def _choose(self, ask: Ask, now: float) -> Route:
        check_provider_names(ask.options, self._upstreams, ask.options_field)
        options = ask.options
        candidates: list[Candidate] = []
        for asked in ask.model_ids:
            model_id, strategy = self._model(asked)
            if strategy is not None and options.optimize is None and options.weights is None:
                options = options.model_copy(update={"optimize": strategy})
            candidates += [
                one for one in self.catalog.candidates(model_id, ask.models_field) if one not in candidates
            ]
        budget_ms = options.max_ttft_ms or (self._ttft.budget_ms if ask.budget_ms is None else ask.budget_ms)
        budget = budget_ms / 1000 if budget_ms else None
        ranking = self._rank(candidates, options, ask.options_field, budget, now)
        chosen = [candidates[position] for position in ranking.order]
        usable = [one for one in chosen if one.health.wait(now) <= 0]
        if not usable:
            raise self._unavailable(chosen, now)
        return Route(
            candidates=tuple(usable),
            strategy=ranking.strategy,
            rules=self._rules(usable, options, budget if ask.streamed else None, ask.streamed, now),
            throttle=self.throttle,
            warnings=(*warnings(options, streamed=ask.streamed), *ranking.warnings),
        )

    def _model(self, asked: str) -> tuple[str, str | None]:
        """A model's id, and the strategy that a shortcut behind it asks for (`gpt-4o:ttft`)."""
        base, colon, ending = asked.rpartition(":")
        if asked not in self.catalog and colon and ":" not in base and ending in SHORTCUTS and base in self.catalog:
            return base, SHORTCUTS[ending]
        return asked, None

    def _rank(
        self, candidates: list[Candidate], options: RoutingOptions, field: str, budget: float | None, now: float
    ) -> Ranking:
        if len(candidates) == 1 and _CHOOSING.isdisjoint(options.model_fields_set):
            # Nothing to choose: the request goes out without a look at what is known of the upstream.
            return Ranking((0,), "custom" if options.weights else options.optimize or self._routing.optimize)
        offers = [_offer(one, now) for one in candidates]
        return rank(offers, options, self._routing.optimize, self._dice, budget, field)

    def _rules(
        self,
        candidates: list[Candidate],
        options: RoutingOptions,
        budget: float | None,
        streamed: bool,
        now: float,
    ) -> race.RaceRules:
        attempts = options.max_fallback_attempts or ALL_ATTEMPTS
        rules = race.RaceRules(
            attempts=attempts if options.allow_fallbacks else 1,
            budget=budget,
            deadline=options.deadline_ms / 1000 if options.deadline_ms else None,
            timeout=options.timeout_ms / 1000 if options.timeout_ms else None,
        )
        if not streamed or self._ttft.hedge_after == "off" or not options.allow_fallbacks:
            return rules  # a whole answer is not hedged: it would cost twice
        speed = [one.health.statistics(now).ttft_p50 or math.inf for one in candidates]
        return replace(
            rules,
            hedge_after=tuple(self._hedge_after(one, now) for one in candidates),
            hedge_order=tuple(sorted(range(len(candidates)), key=speed.__getitem__)),
        )

    def _hedge_after(self, candidate: Candidate, now: float) -> float | None:
        after = self._ttft.hedge_after
        return candidate.health.tail(now) if isinstance(after, str) else after / 1000

    def _unavailable(self, candidates: list[Candidate], now: float) -> RivergateError:
        """All are left alone: 429 if that is their own wish, 503 if a breaker is open."""
        soonest = min(one.health.wait(now) for one in candidates)
        names = ", ".join(dict.fromkeys(one.endpoint.name for one in candidates))
        if all(one.health.is_limited(now) for one in candidates):
            wait = min(math.ceil(soonest), MAX_RETRY_AFTER)
            return RateLimited(f"{names}: over the limit, and asked for time", retry_after=wait)
        wait = min(math.ceil(soonest * (1.0 + self._jitter())), MAX_RETRY_AFTER)
        return NoProviderAvailable(f"no upstream of this model is up: {names}", retry_after=wait)


def _offer(candidate: Candidate, now: float) -> Offer:
    known = candidate.health.statistics(now)
    cold = candidate.health.is_cold(now)
    model = candidate.model
    prices = (model.input_usd_per_mtok, model.output_usd_per_mtok)
    given = [float(price) for price in prices if price is not None]
    return Offer(
        upstream=candidate.endpoint.name,
        model_id=model.id,
        usd_per_mtok=sum(given) / 2 if given else None,
        ttft_p50=None if cold else known.ttft_p50,
        ttft_p95=None if cold else known.ttft_p95,
        tps_p50=None if cold else known.tps_p50,
        tps_p95=None if cold else known.tps_p95,
        error_rate=known.error_rate,
    )
