"""Shell: the discovery of models: upstreams are asked for their `/models` at the start, and again every ten minutes.

In: the upstreams with `discover = "on"`. Out: a configuration with the models that they listed. The invariant: an
upstream that does not answer changes nothing: its models stay as they were, and a line of the log says why.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from gateway.config import Config, ModelSettings, UpstreamSettings
from gateway.errors import RivergateError
from gateway.routing.catalog import DiscoveredModel
from gateway.routing.wildcard import STAR, Wildcard
from gateway.tasks import Tasks
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.model_list import ModelList, ask_models
from gateway.upstream.redaction import Redactor

PAUSE_SECONDS = 600.0  # between two questions to an upstream
ANSWER_SECONDS = 10.0  # how long an upstream may take for its list
START_SECONDS = 2.0  # how long the start waits for the first lists; it goes on without those that are not there
MAX_DISCOVERED = 500  # models of one upstream: each takes 4 KB and 35 us of the loop; OpenRouter lists 400
SLICE = 50  # models that are checked before other work has its turn

_log = logging.getLogger("rivergate")


@dataclass(frozen=True, slots=True)
class Listed:
    """The models that an upstream listed, checked, and the address where it did."""

    base_url: str
    models: tuple[DiscoveredModel, ...]


class Discovery:
    """The lists of all upstreams. `on_change` is awaited after a list has changed."""

    def __init__(
        self,
        settings: Callable[[], Config],
        endpoints: Callable[[], dict[str, Endpoint]],
        on_change: Callable[[], Awaitable[None]],
        tasks: Tasks,
    ) -> None:
        self._settings = settings
        self._endpoints = endpoints
        self._on_change = on_change
        self._tasks = tasks
        self._listed: dict[str, Listed] = {}  # by the upstream's name
        self._again: asyncio.Event | None = None  # set when upstreams are to be asked before the pause is over

    def extend(self, settings: Config) -> Config:
        """The configuration with the models that were listed so far, beside those of the file."""
        if not self._listed:
            return settings
        return settings.model_copy(update={"upstreams": tuple(map(self._extended, settings.upstreams))})

    async def start(self) -> None:
        """Ask for the first time, if an upstream is to be asked; wait for the answers, but only for a short time."""
        if self._again is None and self._wanted():
            self._again, first = asyncio.Event(), asyncio.Event()
            self._tasks.start(self._run(first, self._again), "discovery")
            try:
                async with asyncio.timeout(START_SECONDS):
                    await first.wait()
            except TimeoutError:
                pass  # the models are served as soon as they are known

    def ask_again(self) -> None:
        """Ask soon: another configuration is in force."""
        if self._again is not None:
            self._again.set()
        elif self._wanted():
            self._tasks.start(self.start(), "start of the discovery")

    async def _run(self, first: asyncio.Event, again: asyncio.Event) -> None:
        while True:
            again.clear()
            await asyncio.gather(*map(self._ask, self._wanted()))
            first.set()
            try:
                async with asyncio.timeout(PAUSE_SECONDS):
                    await again.wait()
            except TimeoutError:
                pass

    def _wanted(self) -> list[UpstreamSettings]:
        return [upstream for upstream in self._settings().upstreams if upstream.discover == "on"]

    async def _ask(self, upstream: UpstreamSettings) -> None:
        endpoint = self._endpoints()[upstream.name]
        try:
            answer = await ask_models(endpoint, ANSWER_SECONDS)
        except RivergateError as error:
            self._tell_failure(upstream, error.reason)
            return
        if answer.ids is None or not 200 <= answer.status < 300:
            is_good = 200 <= answer.status < 300
            self._tell_failure(upstream, "its answer is no list of models" if is_good else f"HTTP {answer.status}")
            return
        redactor = Redactor(endpoint.secrets)
        listed = Listed(upstream.base_url, tuple([model async for model in _checked(answer, redactor)]))
        if self._listed.get(upstream.name) != listed:
            self._listed[upstream.name] = listed
            fields = {"upstream": upstream.name, "models": len(listed.models), "listed": len(answer.ids)}
            _log.info("models discovered", extra={"fields": fields})
            await self._on_change()

    def _tell_failure(self, upstream: UpstreamSettings, reason: str) -> None:
        kept = len(self._listed[upstream.name].models) if upstream.name in self._listed else 0
        fields = {"upstream": upstream.name, "reason": reason, "models_kept": kept}
        _log.warning("models not discovered", extra={"fields": fields})

    def _extended(self, upstream: UpstreamSettings) -> UpstreamSettings:
        listed = self._listed.get(upstream.name)
        if upstream.discover == "off" or listed is None or listed.base_url != upstream.base_url:
            return upstream
        models = (*upstream.models, *new_models(upstream.models, listed.models))
        return upstream.model_copy(update={"models": models})


async def _checked(answer: ModelList, redactor: Redactor) -> AsyncIterator[DiscoveredModel]:
    """The models of a list that can be served, in the order of their names.

    A name that holds a secret of the gateway is left out: names stand in lists for clients, in logs and in metrics.
    """
    names = sorted(name for name in answer.ids or () if not name.startswith("models/") and STAR not in name)
    for number, name in enumerate(names[:MAX_DISCOVERED]):
        if number % SLICE == SLICE - 1:
            await asyncio.sleep(0)
        if not redactor.finds_in(name) and (model := _model(name)) is not None:
            yield model


def _model(name: str) -> DiscoveredModel | None:
    """The model of this name; None for a name that no request could ask for, one with blanks for example."""
    try:
        return DiscoveredModel.model_validate({"id": name})
    except ValidationError:
        return None


def new_models(configured: Sequence[ModelSettings], listed: Iterable[DiscoveredModel]) -> Iterator[DiscoveredModel]:
    """The listed models that the configuration does not have, named and priced by the wildcard that fits them."""
    names = {name for model in configured for name in (model.id, model.upstream_id, *model.aliases)}
    wildcards = [(Wildcard.parse(model.upstream_id), model) for model in configured if STAR in model.upstream_id]
    wildcards.sort(key=lambda wildcard: -wildcard[0].narrowness)
    for model in listed:
        if model.upstream_id in names:
            continue
        fitting = ((entry, rest) for wildcard, entry in wildcards if (rest := wildcard.rest(model.id)) is not None)
        entry, rest = next(fitting, (model, ""))
        found = entry.model_dump() | {"id": entry.id.replace(STAR, rest), "upstream_id": model.upstream_id}
        if found["id"] not in names:
            yield DiscoveredModel.model_construct(**found)
