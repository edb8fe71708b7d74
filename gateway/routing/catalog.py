"""Pure: which upstreams serve which public model, in the order of the configuration."""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.config import Model
from gateway.errors import ModelNotFound
from gateway.upstream.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class Candidate:
    """One upstream that can serve one model."""

    endpoint: Endpoint
    model: Model


class Catalog:
    """The models that clients may ask for."""

    def __init__(self, candidates: Iterable[Candidate]) -> None:
        self._candidates: dict[str, list[Candidate]] = {}
        for candidate in candidates:
            self._candidates.setdefault(candidate.model.id, []).append(candidate)

    def model_ids(self) -> list[str]:
        return list(self._candidates)

    def candidates(self, model_id: str) -> list[Candidate]:
        """The upstreams of a model. Raises `ModelNotFound`, which names what there is."""
        found = self._candidates.get(model_id)
        if found is None:
            known = ", ".join(list(self._candidates)[:20]) or "none"
            message = f"the model {model_id[:200]!r} does not exist here; known models: {known}"
            raise ModelNotFound(message, param="model")
        return found
