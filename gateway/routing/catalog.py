"""Wiring: the catalog: which upstreams serve which public model, in the order of the configuration.

In: candidates. Out: the candidates for one model, or an error that names the known models.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.config import ModelSettings
from gateway.errors import ModelNotFound
from gateway.routing.health import Health
from gateway.upstream.endpoint import Endpoint


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One upstream with one of its models, and the upstream's health for this model."""

    endpoint: Endpoint
    model: ModelSettings
    health: Health


class Catalog:
    """The models that clients may ask for."""

    def __init__(self, candidates: Iterable[Candidate]) -> None:
        self._candidates: dict[str, list[Candidate]] = {}
        for candidate in candidates:
            self._candidates.setdefault(candidate.model.id, []).append(candidate)

    def model_ids(self) -> list[str]:
        """The public ids, in the order of the configuration."""
        return list(self._candidates)

    def all(self) -> list[Candidate]:
        """Every upstream with each of its models."""
        return [candidate for candidates in self._candidates.values() for candidate in candidates]

    def __contains__(self, model_id: str) -> bool:
        return model_id in self._candidates

    def candidates(self, model_id: str, field: str = "model") -> list[Candidate]:
        """The candidates for a model. Raises `ModelNotFound`, which names the known models and `field`."""
        found = self._candidates.get(model_id)
        if found is None:
            known = ", ".join(list(self._candidates)[:20]) or "none"
            message = f"the model {model_id[:200]!r} does not exist here; known models: {known}"
            raise ModelNotFound(message, param=field)
        return found
