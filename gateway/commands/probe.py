"""Shell: the probe of `rivergate check --probe`: each upstream is asked for its models, all at the same time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from gateway import clock
from gateway.config import Config
from gateway.errors import RivergateError
from gateway.routing.catalog import Candidate
from gateway.run import build
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.model_list import ModelList, ask_models

_REFUSED = frozenset({401, 403})
_NO_LIST = frozenset({404, 405, 501})
MAX_NAMED = 10  # models that a line names; the others are counted


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What the probe of one upstream found. `authorised` and `missing` are None where they could not be found out."""

    upstream: str
    failure: str | None  # why there was no answer, in our words; None: it is reachable
    status: int | None
    authorised: bool | None
    missing: tuple[str, ...] | None  # the configured models that it does not list
    milliseconds: float

    @property
    def is_fault(self) -> bool:
        """Whether requests to this upstream would fail."""
        return self.authorised is not True and not self._lists_none

    @property
    def _lists_none(self) -> bool:
        return self.status in _NO_LIST

    def line(self) -> str:
        """One line for people."""
        return f"upstream {self.upstream}: {', '.join(self._words())}, {self.milliseconds:.0f} ms"

    def _words(self) -> list[str]:
        if self.failure is not None:
            return [f"not reachable: {self.failure}"]
        if self.authorised is False:
            return ["reachable", f"not authorised (HTTP {self.status}): its key is wrong, missing or without rights"]
        if self._lists_none:
            return ["reachable", f"has no list of models (HTTP {self.status}): is its base_url right?"]
        if self.authorised is None:
            return ["reachable", f"answers HTTP {self.status}"]
        return ["reachable", "authorised", self._list_words()]

    def _list_words(self) -> str:
        if self.missing is None:
            return "what it answers is no list of models: is its base_url right?"
        if not self.missing:
            return "lists every configured model"
        more = len(self.missing) - MAX_NAMED
        return f"does not list {' '.join(self.missing[:MAX_NAMED])}" + (f" and {more} more" if more > 0 else "")

    def as_json(self) -> dict[str, Any]:
        return {
            "upstream": self.upstream,
            "reachable": self.failure is None,
            "failure": self.failure,
            "status": self.status,
            "authorised": self.authorised,
            "missing_models": None if self.missing is None else list(self.missing),
            "milliseconds": round(self.milliseconds, 1),
        }


async def probe(settings: Config, seconds: float) -> list[ProbeResult]:
    """Ask every upstream for its models, all at the same time, each for these seconds at most."""
    upstreams = build.build_upstreams(settings)
    try:
        catalog = upstreams.router.catalog.all()
        asked = [
            _probe(endpoint, [candidate for candidate in catalog if candidate.endpoint is endpoint], seconds)
            for endpoint in upstreams.endpoints.values()
        ]
        return await asyncio.gather(*asked)
    finally:
        upstreams.close()


async def _probe(endpoint: Endpoint, candidates: Sequence[Candidate], seconds: float) -> ProbeResult:
    began = clock.monotonic()
    try:
        answer = await ask_models(endpoint, seconds)
    except RivergateError as error:
        return ProbeResult(endpoint.name, error.reason, None, None, None, (clock.monotonic() - began) * 1000)
    wanted = [candidate.model.upstream_id for candidate in candidates]
    return result(endpoint.name, answer, wanted)


def result(upstream: str, answer: ModelList, wanted: Sequence[str]) -> ProbeResult:
    """What an answer says. `wanted`: the ids of the configured models at the upstream, wildcards among them."""
    good = 200 <= answer.status < 300
    missing = None
    if good and answer.ids is not None:
        missing = tuple(model for model in dict.fromkeys(wanted) if not _lists(answer.ids, model))
    authorised = True if good else False if answer.status in _REFUSED else None
    return ProbeResult(upstream, None, answer.status, authorised, missing, answer.seconds * 1000)


def _lists(ids: frozenset[str], model: str) -> bool:
    return model in ids or ("*" in model and any(fnmatchcase(listed, model) for listed in ids))
