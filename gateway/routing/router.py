"""Wiring: the router makes a route of a request's models and options: the upstreams to ask, their order, the rules.

In: what the client asks for, the configured defaults, and what is known of the upstreams now. Out: a `Route`, or the
error that says why there is none.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from gateway.config import RoutingSettings, TtftSettings
from gateway.dialects.registry import DIALECTS
from gateway.errors import ModelNotFound, NoProviderAvailable, RateLimited, RivergateError
from gateway.routing import race
from gateway.routing.catalog import Candidate, Catalog
from gateway.routing.filters import check_provider_names
from gateway.routing.incidents import Incidents
from gateway.routing.offer import Offer
from gateway.routing.options import RoutingOptions, Warning_, warnings
from gateway.routing.ranking import CUSTOM, Ranking, rank
from gateway.routing.strategies import STRATEGIES, Strategies
from gateway.routing.throttle import Throttle

# Options by which even the only upstream of a model may be refused, or get a warning.
_CHOOSING = frozenset(
    {"providers", "exclude_providers", "prefer", "max_cost_per_1m", "max_ttft_ms", "min_throughput_tps"}
)
MAX_NAMED = 10  # upstreams that an error message names
ALL_ATTEMPTS = 20  # attempts of a request whose options set no limit


class Ask(NamedTuple):
    """What a client asks for.

    `budget_ms`: the time to the first token; None: the server's default, 0: no budget. `models_field` and
    `options_field` are the paths of the models and of the options in the request, for error messages. `speaks`: the
    word that an upstream has to have among its `dialects`.
    """

    model_ids: Sequence[str]
    options: RoutingOptions
    streamed: bool = True
    budget_ms: int | None = None
    models_field: str = "model"
    options_field: str = "gateway.routing"
    speaks: str = DIALECTS[0].speaks

    @property
    def is_plain(self) -> bool:
        """Whether the client asks for one model and nothing else."""
        return len(self.model_ids) == 1 and self.budget_ms is None and not self.options.model_fields_set


@dataclass(frozen=True, slots=True)
class Route:
    """The candidates of a request in the order in which they are asked, and the rules of the race between them."""

    candidates: tuple[Candidate, ...]
    strategy: str
    rules: race.RaceRules
    throttle: Throttle
    incidents: Incidents
    warnings: tuple[Warning_, ...] = ()
    names: tuple[str, ...] = field(init=False)  # of the candidates' upstreams
    has_choice: bool = field(init=False)  # the race may have to decide something before an attempt fails

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(candidate.endpoint.name for candidate in self.candidates))
        object.__setattr__(self, "has_choice", len(self.candidates) > 1 or self.rules.is_timed)

    def only(self, candidates: Sequence[Candidate]) -> "Route":
        """The route that asks no others than these of its candidates."""
        kept = [place for place, candidate in enumerate(self.candidates) if candidate in candidates]
        rules, order = self.rules, self.rules.hedge_order
        fewer = replace(
            rules,
            hedge_after=tuple(rules.hedge_after[place] for place in kept if place < len(rules.hedge_after)),
            hedge_order=tuple(kept.index(place) for place in order if place in kept),
        )
        return replace(self, candidates=tuple(self.candidates[place] for place in kept), rules=fewer)


class Router:
    """The way from a request to its route, by what the configuration says and what is known of the upstreams now."""

    def __init__(
        self,
        catalog: Catalog,
        routing: RoutingSettings,
        ttft: TtftSettings,
        dice: Callable[[], float],
        jitter: Callable[[], float],
        throttle: Throttle,
        strategies: Strategies = STRATEGIES,
        incidents: Incidents | None = None,
    ) -> None:
        self.catalog = catalog
        self.throttle = throttle
        self.incidents = incidents or Incidents()
        self._routing = routing
        self._ttft = ttft
        self._dice = dice  # gives 0.0 to 1.0, for the order of equal offers
        self._jitter = jitter  # gives 0.0 to 1.0, for `Retry-After`
        self._strategies = strategies
        self._only_routes: dict[
            tuple[str, bool, str], Route
        ] = {}  # the routes of plain requests that leave no choice
        self.upstreams = list(dict.fromkeys(candidate.endpoint.name for candidate in catalog.all()))

    def route(self, ask: Ask, now: float) -> Route:
        """The route of one request. Raises `ClientError`, or `NoProviderAvailable` if no upstream may be tried."""
        if not ask.is_plain:
            return self._choose(ask, now)
        key = (ask.model_ids[0], ask.streamed, ask.speaks)
        if (only := self._only_routes.get(key)) is None:
            route = self._choose(ask, now)
            if self._has_no_choice(*key):
                self._only_routes[key] = route
            return route
        if only.candidates[0].health.wait(now) > 0:
            raise self._unavailable(only.candidates, now)
        return only

    def _has_no_choice(self, model_id: str, streamed: bool, speaks: str) -> bool:
        """Whether plain requests for this model always get one route: it has one upstream, and hedges are off."""
        hedged = streamed and self._ttft.hedge_after != "off"
        name = self._split(model_id)[0]
        # The names that a wildcard finds are the clients' to make up, so no route of theirs is kept.
        if hedged or not self.catalog.is_named(name):
            return False
        return len(_speaking(self.catalog.candidates(name), speaks)) == 1

    def _choose(self, ask: Ask, now: float) -> Route:
        check_provider_names(ask.options, self.upstreams, ask.options_field)
        candidates, options = self._candidates(ask)
        budget = self._budget(ask)
        ranking = self._rank(candidates, options, ask.options_field, budget, now)
        chosen = [candidates[position] for position in ranking.order]
        usable = [candidate for candidate in chosen if candidate.health.wait(now) <= 0]
        if not usable:
            raise self._unavailable(chosen, now)
        return Route(
            candidates=tuple(usable),
            strategy=ranking.strategy,
            rules=self._rules(usable, options, budget if ask.streamed else None, ask.streamed, now),
            throttle=self.throttle,
            incidents=self.incidents,
            warnings=(*warnings(options, streamed=ask.streamed), *ranking.warnings),
        )

    def _candidates(self, ask: Ask) -> tuple[list[Candidate], RoutingOptions]:
        """The candidates for every model that is asked for, and the options with the strategy of a shortcut."""
        options = ask.options
        candidates: dict[Candidate, None] = {}  # an ordered set
        for asked_id in ask.model_ids:
            model_id, strategy = self._split(asked_id)
            if strategy is not None and options.optimize is None and options.weights is None:
                options = options.model_copy(update={"optimize": strategy})
            candidates.update(dict.fromkeys(self.catalog.candidates(model_id, ask.models_field)))
        speaking = _speaking(candidates, ask.speaks)
        if not speaking:
            raise _not_spoken(candidates, ask)
        return speaking, options

    def _split(self, asked_id: str) -> tuple[str, str | None]:
        """The id of a model, and the strategy that a shortcut behind the id asks for (`gpt-4o:ttft`), else None."""
        model_id, colon, word = asked_id.rpartition(":")
        shortcuts = self._strategies.shortcuts
        if not self.catalog.is_named(asked_id) and colon and ":" not in model_id and word in shortcuts:
            return (model_id, shortcuts[word]) if model_id in self.catalog else (asked_id, None)
        return asked_id, None

    def _budget(self, ask: Ask) -> float | None:
        """Seconds to the first token: the request's own, or the server's default; None: no budget."""
        default_ms = self._ttft.budget_ms if ask.budget_ms is None else ask.budget_ms
        budget_ms = ask.options.max_ttft_ms or default_ms
        return budget_ms / 1000 if budget_ms else None

    def _rank(
        self, candidates: list[Candidate], options: RoutingOptions, field: str, budget: float | None, now: float
    ) -> Ranking:
        default = self._routing.optimize
        if len(candidates) == 1 and _CHOOSING.isdisjoint(options.model_fields_set):
            # There is nothing to choose, so the request goes out without a look at what is known of the upstream.
            return Ranking((0,), CUSTOM if options.weights else options.optimize or default)
        offers = [_offer(candidate, now) for candidate in candidates]
        return rank(offers, options, default, self._dice, budget, field, self._strategies)

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
            return rules  # a whole answer is not hedged, since both attempts would be paid for
        speeds = [candidate.health.statistics(now).ttft_p50 or math.inf for candidate in candidates]
        return replace(
            rules,
            hedge_after=tuple(self._hedge_after(candidate, now) for candidate in candidates),
            hedge_order=tuple(sorted(range(len(candidates)), key=speeds.__getitem__)),
        )

    def _hedge_after(self, candidate: Candidate, now: float) -> float | None:
        after = self._ttft.hedge_after
        return candidate.health.tail(now) if isinstance(after, str) else after / 1000

    def _unavailable(self, candidates: Sequence[Candidate], now: float) -> RivergateError:
        """The error if no candidate may be tried now: 429 if each is over its limit, 503 if a breaker is open."""
        soonest = min(candidate.health.wait(now) for candidate in candidates)
        names = ", ".join(dict.fromkeys(candidate.endpoint.name for candidate in candidates))
        if all(candidate.health.is_limited(now) for candidate in candidates):
            wait = math.ceil(soonest)
            return RateLimited(f"{names}: over the limit of requests", retry_after=wait)
        wait = math.ceil(soonest * (1.0 + self._jitter()))
        return NoProviderAvailable(f"no upstream of this model is up: {names}", retry_after=wait)


def _speaking(candidates: Iterable[Candidate], speaks: str) -> list[Candidate]:
    """The candidates whose upstreams have this word among their `dialects`."""
    return [candidate for candidate in candidates if speaks in candidate.endpoint.dialects]


def _not_spoken(candidates: Iterable[Candidate], ask: Ask) -> ModelNotFound:
    """The error for models of which no upstream speaks the dialect of the request."""
    spoken = {candidate.endpoint.name: ", ".join(candidate.endpoint.dialects) for candidate in candidates}
    known = "; ".join(f"{name} speaks {words}" for name, words in list(spoken.items())[:MAX_NAMED])
    names = ", ".join(ask.model_ids)[:200]
    told = f"no upstream serves {names} in the dialect {ask.speaks}: {known} (the setting `dialects` of an upstream)"
    return ModelNotFound(told, param=ask.models_field)


def _offer(candidate: Candidate, now: float) -> Offer:
    """What is known of a candidate now; if the candidate is cold, only its price and its share of failures."""
    known = candidate.health.statistics(now)
    cold = candidate.health.is_cold(now)
    model = candidate.model
    prices = [float(price) for price in (model.input_usd_per_mtok, model.output_usd_per_mtok) if price is not None]
    return Offer(
        upstream=candidate.endpoint.name,
        model_id=model.id,
        usd_per_mtok=sum(prices) / 2 if prices else None,
        ttft_p50=None if cold else known.ttft_p50,
        ttft_p95=None if cold else known.ttft_p95,
        tps_p50=None if cold else known.tps_p50,
        tps_p95=None if cold else known.tps_p95,
        error_rate=known.error_rate,
        weight=candidate.weight,
    )
