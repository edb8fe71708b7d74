"""Simulated providers in a thread of their own, so that tests may block, and what they have seen."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from gateway.simulate import Provider, Script
from gateway.simulate.tally import ProviderStatistics
from gateway.simulate.words import words

from .processes import wait_for

# What must never stand in a log: one of these is in every request, answer or configuration of these tests.
PROMPT = "What does the heron whisper to the weir?"
CLIENT_KEY = "sk-client-0a1b2c3d4e5f"
UPSTREAM_KEY = "sk-upstream-5f4e3d2c1b0a"

MODEL = "openai/gpt-4o"
QUICK = {"ttft_ms": 5, "gap_ms": 1, "tokens": 8}
ENDLESS = {"ttft_ms": 5, "gap_ms": 10, "tokens": 100_000}

_Result = TypeVar("_Result")


def text(tokens: int) -> str:
    """What a provider with the default seed says in so many tokens."""
    return "".join(islice(words(0), tokens))


def body(simulate: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """A request; the provider behaves as `simulate` says."""
    message = {"role": "user", "content": PROMPT}
    told = {} if simulate is None else {"simulate": dict(simulate)}
    return {"model": MODEL, "messages": [message], **told, **fields}


def ask(simulate: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """The same as keyword arguments of an SDK."""
    return {**body(**fields), "extra_body": {"simulate": dict(simulate)}}


class Upstream:
    """One provider, seen from another thread."""

    def __init__(self, provider: Provider, call: Callable[[Callable[[], Any]], Any]) -> None:
        self._provider = provider
        self._call = call
        self.name = provider.name
        self.base_url = provider.base_url

    @property
    def stats_url(self) -> str:
        return self.base_url.removesuffix("/v1") + "/stats"

    def follow(self, **script: Any) -> None:
        """Behave like this from now on."""
        self._call(lambda: setattr(self._provider, "script", Script(**script)))

    def statistics(self) -> ProviderStatistics:
        seen: ProviderStatistics = self._call(self._provider.statistics)
        return seen

    def wait_until(
        self, condition: Callable[[ProviderStatistics], bool], what: str, seconds: float = 2.0
    ) -> ProviderStatistics:
        """The statistics as soon as they fulfil the condition."""

        def look() -> ProviderStatistics | None:
            seen = self.statistics()
            return seen if condition(seen) else None

        return wait_for(look, f"{self.name}: {what}", seconds)

    def wait_for_abort(self, before: ProviderStatistics) -> ProviderStatistics:
        """Until one more response than before was given up by its client."""
        return self.wait_until(lambda now: now.aborted > before.aborted, "an abort")

    def wait_for_request(self, before: ProviderStatistics) -> ProviderStatistics:
        """Until one more request than before has come."""
        return self.wait_until(lambda now: now.requests > before.requests, "a request")


class Upstreams:
    """The thread and its providers."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstreams", daemon=True)
        self._thread.start()
        self._providers: list[Provider] = []

    def start(self, name: str, **script: Any) -> Upstream:
        provider = self._run(Provider.start(script=Script(**script), name=name))
        self._providers.append(provider)
        return Upstream(provider, self._call)

    def close(self) -> None:
        for provider in self._providers:
            self._run(provider.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def _call(self, function: Callable[[], _Result]) -> _Result:
        async def call() -> _Result:
            return function()

        return self._run(call())


class ClosedPort:
    """An upstream that refuses every connection: a port that is taken, and not listened on."""

    name = "gone"

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"

    def close(self) -> None:
        self._socket.close()


def configuration(
    upstreams: Sequence[tuple[Upstream | ClosedPort, Sequence[str]]],
    sections: str = "",
    prices: Mapping[str, tuple[float, float]] | None = None,
) -> str:
    """A configuration file: these upstreams with their models, and all else by default.

    `prices`: of input and output, by the upstream's name; the others cost the same.
    """
    parts = [sections if "[server]" in sections else f'[server]\nlisten = "127.0.0.1:0"\n{sections}']
    for upstream, models in upstreams:
        parts.append(f'[[upstreams]]\nname = "{upstream.name}"\nbase_url = "{upstream.base_url}"')
        parts.append('api_key_env = "TEST_UPSTREAM_KEY"')
        given, output = (prices or {}).get(upstream.name, (2.5, 10.0))
        for model in models:
            parts.append(f'[[upstreams.models]]\nid = "{model}"\nupstream_id = "{model.rpartition("/")[2]}-2024"')
            parts.append(f"input_usd_per_mtok = {given}\noutput_usd_per_mtok = {output}")
    return "\n".join(parts) + "\n"
