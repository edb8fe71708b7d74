"""Wiring: the catalog: which upstreams serve which public model, in the order of the configuration.

In: candidates, some of them wildcards. Out: the candidates for one model, or an error that names the known models.
The invariant: names that clients make up take a bounded memory, since only the last ones are kept.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from gateway.config import ModelSettings
from gateway.dialects.prices import Prices, prices_of
from gateway.errors import ModelNotFound
from gateway.routing.health import BreakerRules, Health
from gateway.routing.quota import Quota
from gateway.routing.shared_health import SharedHealth
from gateway.routing.wildcard import STAR, Wildcard
from gateway.upstream.endpoint import Endpoint

MAX_MATCHED = 256  # names found by wildcards whose health is kept; more than an upstream's models that are in use


class DiscoveredModel(ModelSettings):
    """A model that its upstream listed, and that the configuration does not name."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One upstream with one of its models, and the upstream's health for this model.

    `weight`: its share among equals. `quota`: the limits of the upstream; None: it has none. `wildcard`: the id in
    the configuration by which the model was found; None: it is configured by its own id. `prices`: of the
    model; None: what it costs is not known.
    """

    endpoint: Endpoint
    model: ModelSettings
    health: Health
    weight: float = 1.0
    quota: Quota | None = None
    wildcard: str | None = None
    prices: Prices | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "prices", prices_of(self.model))

    @property
    def is_shown(self) -> bool:
        """Whether statistics show the candidate; a model that its upstream listed has to be asked for first."""
        return self.health.was_asked or not isinstance(self.model, DiscoveredModel)

    @property
    def names(self) -> tuple[str, ...]:
        """The names by which a key may be allowed to use the model."""
        found_by = () if self.wildcard is None else (self.wildcard,)
        return (self.model.id, *self.model.aliases, *found_by)


class Catalog:
    """The models that clients may ask for."""

    def __init__(self, candidates: Iterable[Candidate], rules: BreakerRules | None = None) -> None:
        """`rules`: for the breakers of the models that wildcards find."""
        self._listed: dict[str, list[Candidate]] = {}  # by the id in the configuration
        self._named: dict[str, list[Candidate]] = {}  # by every whole name: an id, or an alias
        self._rules = rules
        self._wildcards: list[tuple[Wildcard, str]] = []  # each with its id, the narrowest first
        self._matched: dict[str, list[Candidate]] = {}  # the last names that wildcards found, the newest last
        for candidate in candidates:
            self.add(candidate)

    def add(self, candidate: Candidate) -> None:
        """Add a candidate behind the others, before any model is asked for."""
        model = candidate.model
        if STAR in model.id and model.id not in self._listed:
            self._wildcards.append((Wildcard.parse(model.id), model.id))
            self._wildcards.sort(key=lambda wildcard: -wildcard[0].narrowness)
        self._listed.setdefault(model.id, []).append(candidate)
        for name in (model.id, *model.aliases):
            if STAR not in name:
                self._named.setdefault(name, []).append(candidate)

    def listing(self) -> Iterator[tuple[str, list[Candidate]]]:
        """Every id, wildcard and alias with its candidates."""
        yield from self._listed.items()
        yield from ((name, candidates) for name, candidates in self._named.items() if name not in self._listed)

    def all(self) -> list[Candidate]:
        """Every upstream with each of its models; a wildcard stands for all models that it finds."""
        return [candidate for candidates in self._listed.values() for candidate in candidates]

    def is_named(self, name: str) -> bool:
        """Whether this is a whole name of a configured model, so that no wildcard has to find it."""
        return name in self._named

    def __contains__(self, name: str) -> bool:
        return name in self._named or self._wildcard_of(name) is not None

    def candidates(self, name: str, field: str = "model") -> list[Candidate]:
        """The candidates for a model. Raises `ModelNotFound`, which names the known models and `field`."""
        found = self._named.get(name) or self._matching(name)
        if found is None:
            known = ", ".join(islice(self._listed, 20)) or "none"
            message = f"the model {name[:200]!r} does not exist here; known models: {known}"
            raise ModelNotFound(message, param=field)
        return found

    def _wildcard_of(self, name: str) -> tuple[str, str] | None:
        """The id of the narrowest wildcard that this name fits, and what its `*` stands for; None without one."""
        for wildcard, model_id in self._wildcards:
            if (rest := wildcard.rest(name)) is not None:
                return model_id, rest
        return None

    def _matching(self, name: str) -> list[Candidate] | None:
        """The candidates that a wildcard gives for this name; None if no wildcard fits."""
        if not self._wildcards:
            return None
        found = self._matched.pop(name, None)
        if found is None:
            if (fitting := self._wildcard_of(name)) is None:
                return None
            model_id, rest = fitting
            found = [self._found(candidate, name, rest) for candidate in self._listed[model_id]]
            if len(self._matched) >= MAX_MATCHED:
                del self._matched[next(iter(self._matched))]
        self._matched[name] = found
        return found

    def _found(self, wildcard: Candidate, name: str, rest: str) -> Candidate:
        """The candidate for one model of a wildcard."""
        upstream_id = wildcard.model.upstream_id.replace(STAR, rest)
        return replace(
            wildcard,
            model=wildcard.model.model_copy(update={"id": name, "upstream_id": upstream_id, "aliases": ()}),
            health=SharedHealth(self._rules, wildcard.quota, wildcard.health),
            wildcard=wildcard.model.id,
        )
