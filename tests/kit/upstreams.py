"""Simulated providers in a thread of their own, so that tests may block, and what they have seen."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from gateway.simulate import Provider, Script, usual_script
from gateway.simulate.tally import ProviderStatistics

from .waiting import PATIENCE, wait_for

_Result = TypeVar("_Result")


class Upstream:
    """One provider, seen from another thread."""

    def __init__(self, provider: Provider, usual: Script, call: Callable[[Callable[[], Any]], Any]) -> None:
        self._usual = usual
        self._provider = provider
        self._call = call
        self.name = provider.name
        self.base_url = provider.base_url
        self.origin = provider.origin

    @property
    def stats_url(self) -> str:
        return self.origin + "/stats"

    def follow(self, **script: Any) -> None:
        """Let the provider play this script from now on; what it does not say is as usual for the provider."""
        self._call(lambda: setattr(self._provider, "script", self._usual.replace(script)))

    def statistics(self) -> ProviderStatistics:
        seen: ProviderStatistics = self._call(self._provider.statistics)
        return seen

    def wait_until(
        self, condition: Callable[[ProviderStatistics], bool], what: str, seconds: float = PATIENCE
    ) -> ProviderStatistics:
        """The statistics as soon as they fulfil the condition."""

        def look() -> ProviderStatistics | None:
            seen = self.statistics()
            return seen if condition(seen) else None

        return wait_for(look, f"{self.name}: {what}", seconds)

    def wait_for_counts(self, what: str, **counts: int) -> ProviderStatistics:
        """The statistics as soon as they have exactly these values."""
        return self.wait_until(lambda now: all(getattr(now, name) == n for name, n in counts.items()), what)

    def wait_for_abort(self, before: ProviderStatistics) -> ProviderStatistics:
        """Wait until one more response than in `before` was given up by its client."""
        return self.wait_until(lambda now: now.aborted > before.aborted, "an abort")

    def wait_for_request(self, before: ProviderStatistics) -> ProviderStatistics:
        """Wait until one more request than in `before` has come."""
        return self.wait_until(lambda now: now.requests > before.requests, "a request")


class Upstreams:
    """The thread and its providers."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstreams", daemon=True)
        self._thread.start()
        self._providers: list[Provider] = []

    def start(self, name: str, like: str = "", **script: Any) -> Upstream:
        """A provider with this script; `like`: the real one that it plays, whose own script the fields change."""
        usual = usual_script(like)
        provider = self._run(Provider.start(script=usual.replace(script), name=name, like=like))
        self._providers.append(provider)
        return Upstream(provider, usual, self._call)

    def close(self) -> None:
        for provider in self._providers:
            self._run(provider.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)

    def _call(self, function: Callable[[], _Result]) -> _Result:
        async def call() -> _Result:
            return function()

        return self._run(call())


class ClosedPort:
    """An upstream that refuses every connection: its port is bound, and nobody listens on it."""

    name = "gone"

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"

    def close(self) -> None:
        self._socket.close()
