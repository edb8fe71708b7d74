"""Wiring: which upstreams serve which public model, in the order of the configuration."""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.config import ModelSettings
from gateway.errors import ModelNotFound
from gateway.routing.health import Health
from gateway.upstream.endpoint import Endpoint


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One upstream that can serve one model, and how it has done that lately."""

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
        return list(self._candidates)

    def all(self) -> list[Candidate]:
        """Every upstream with every model."""
        return [one for candidates in self._candidates.values() for one in candidates]

    def __contains__(self, model_id: str) -> bool:
        return model_id in self._candidates

    def candidates(self, model_id: str, field: str = "model") -> list[Candidate]:
        """The upstreams of a model. Raises `ModelNotFound`, which names what there is, and the field at fault."""
        found = self._candidates.get(model_id)
        if found is None:
            known = ", ".join(list(self._candidates)[:20]) or "none"
            message = f"the model {model_id[:200]!r} does not exist here; known models: {known}"
            raise ModelNotFound(message, param=field)
        return found
