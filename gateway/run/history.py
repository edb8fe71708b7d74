"""Shell: the history of the gateway: what it keeps of the last minutes and hours, for a page that opens.

In: completions that end, which cost their request one append; everything else is read at the end of an interval. Out:
values of JSON. The invariant: memory depends on the number of upstreams, models and keys, never on that of requests.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gateway import clock
from gateway.completion.answer import Record
from gateway.completion.spending import ceil_microusd
from gateway.delivery.slices import run_slice
from gateway.endings import Ending
from gateway.http.refusals import Refusals
from gateway.observe.hourly import HourlyUsage, UsedByKey
from gateway.observe.metrics import Distribution
from gateway.observe.timeline import FINE_SECONDS, Timeline
from gateway.routing.router import Router
from gateway.run.recent_failures import FailedRequest, RecentFailures
from gateway.stream.hub import Hub
from gateway.stream.production import Production

AT_ONCE = 300  # running streams whose tokens are added up in one call: 1 ms
MAX_WAITING = 256  # ended completions that wait to be counted: 0.3 ms of work
TTFT_BOUNDS_MS = (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
GAP_BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)


class History:
    """What has happened. `router` gives the one in force, which a reload exchanges."""

    def __init__(self, hub: Hub, refusals: Refusals, router: Callable[[], Router]) -> None:
        self._hub = hub
        self._refusals = refusals
        self._router = router
        self._waiting: list[tuple[Record, str | None, int]] = []
        self._endings: Counter[Ending] = Counter()
        self._ttft = Distribution(TTFT_BOUNDS_MS)
        self._gaps = Distribution(GAP_BOUNDS_MS)
        self._timeline = Timeline()
        self._hourly = HourlyUsage()
        self._failures = RecentFailures()
        self._begun: set[str] = set()  # ids of running streams whose first token is counted
        self._settled_tokens = 0
        self._seen_tokens = 0  # of all answers, when the last pass over the running streams ended
        self._pass: Iterator[None] | None = None  # the pass that is under way
        self._is_closing = False  # whether the interval ends with the pass
        self._failed_before: Counter[str] = Counter()  # failed attempts by upstream, at the end of the last interval
        self._tokens_before = 0
        self._closed_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to end intervals, one every `FINE_SECONDS`."""
        self._closed_at = clock.monotonic()
        self._wait()

    def stop(self) -> None:
        self._pass = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def on_record(self, record: Record, key: str | None, now: int) -> None:
        """Take a completion that has ended. `key`: the id of the key that pays; `now`: Unix seconds."""
        self._waiting.append((record, key, now))
        if len(self._waiting) >= MAX_WAITING:
            self._count_waiting()

    @property
    def endings(self) -> Counter[Ending]:
        """How many completions have ended, by ending."""
        self._count_waiting()
        return self._endings

    @property
    def failures(self) -> RecentFailures:
        """The requests that failed."""
        self._count_waiting()
        return self._failures

    def distributions(self) -> dict[str, Distribution]:
        """All times to first token, and all median gaps between two tokens."""
        self._count_waiting()
        return {"ttft_ms": self._ttft, "gap_ms": self._gaps}

    def tokens(self) -> int:
        """The tokens of all answers since the start, those that run included; a sum that hardly ever falls.

        Where thousands of streams run, it is that of the last pass over them, and the next one begins.
        """
        self._count_waiting()
        running = self._hub.running()
        if len(running) <= AT_ONCE:
            return self._settled_tokens + sum(production.progress().tokens for production in running)
        self._begin_pass(running)
        return self._seen_tokens

    def newest(self) -> dict[str, Any]:
        """The newest point of the fine ring."""
        return self._timeline.fine.as_json(1)

    def last_minute(self) -> dict[str, float | None]:
        """The quantiles of the times to first token of the last minute."""
        return self._timeline.last_minute()

    def as_json(self) -> dict[str, Any]:
        """Both rings."""
        return self._timeline.as_json()

    def hourly(self) -> list[dict[str, Any]]:
        """The requests, tokens and cost of each hour, by model and key."""
        self._count_waiting()
        return self._hourly.as_json(clock.wall_time())

    # --- inside

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(FINE_SECONDS, self._close_interval)

    def _close_interval(self) -> None:
        """End the interval, after a pass over the running streams."""
        self._wait()
        self._is_closing = True
        self._begin_pass(self._hub.running())

    def _begin_pass(self, running: Sequence[Production]) -> None:
        if self._pass is None:
            self._pass = self._look_at(running)
            self._go_on()

    def _go_on(self) -> None:
        """Look at some more streams now, and at the others in the next turns of the loop."""
        if self._pass is None:
            return
        if not run_slice(self._pass):
            asyncio.get_running_loop().call_soon(self._go_on)
            return
        self._pass = None
        if self._is_closing:
            self._is_closing = False
            self._end_interval()

    def _look_at(self, running: Sequence[Production]) -> Iterator[None]:
        """Add up the tokens of these streams, and count their first tokens, so that a slow upstream shows soon."""
        self._count_waiting()
        tokens = self._settled_tokens
        for production in running:
            progress = production.progress()
            tokens += progress.tokens
            if progress.ttft_ms is not None and production.id not in self._begun:
                self._begun.add(production.id)
                self._timeline.on_ttft(progress.ttft_ms)
                if progress.upstream is not None and progress.upstream_ttft_ms is not None:
                    self._timeline.on_ttft(progress.upstream_ttft_ms, progress.upstream)
            yield
        self._count_waiting()  # before the ids of streams that have ended are forgotten
        self._begun &= {production.id for production in self._hub.running()}
        self._seen_tokens = tokens

    def _end_interval(self) -> None:
        now, tokens = clock.monotonic(), self._seen_tokens
        seconds, self._closed_at = now - self._closed_at, now
        brought, self._tokens_before = max(0, tokens - self._tokens_before), tokens
        router = self._router()
        failed = Counter(router.incidents.failed)
        for upstream, count in (failed - self._failed_before).items():
            self._timeline.on_failures(count, upstream)
        self._failed_before = failed
        self._timeline.keep({candidate.endpoint.name for candidate in router.catalog.all()})
        skipped = int(seconds / FINE_SECONDS - 0.5)
        running = self._hub.statistics().running
        self._timeline.close(clock.wall_time(), running, brought / seconds if seconds > 0 else 0.0, skipped)

    def _count_waiting(self) -> None:
        """Count the completions that have ended, and the requests that were refused, since the last call."""
        if waiting := self._waiting:
            self._waiting = []
            for ended in waiting:
                self._count(*ended)
        for at, status, code, request_id, key, reason in self._refusals.take_failed():
            self._add_failure(FailedRequest(at, request_id, code, status, reason or None, key=key))

    def _count(self, record: Record, key: str | None, at: int) -> None:
        self._endings[record.ending] += 1
        if record.ttft_ms is not None:
            self._ttft.add(record.ttft_ms)
        if record.gap_p50_ms is not None:
            self._gaps.add(record.gap_p50_ms)
        if record.id not in self._begun:
            self._count_first_tokens(record)
        self._hourly.add(_used(record, key, at))
        if record.usage is not None:
            self._settled_tokens += record.usage.completion_tokens
        if record.ending.is_fault:
            self._add_failure(FailedRequest.of_completion(record, key, at))

    def _count_first_tokens(self, record: Record) -> None:
        if not record.streamed:
            return
        if record.ttft_ms is not None:
            self._timeline.on_ttft(record.ttft_ms)
        for attempt in record.attempts:
            if attempt.first_content_ms is not None:
                self._timeline.on_ttft(attempt.first_content_ms, attempt.upstream)

    def _add_failure(self, failed: FailedRequest) -> None:
        if self._failures.add(failed):
            self._timeline.on_failures(1)


def _used(record: Record, key: str | None, at: int) -> UsedByKey:
    """What a completion has used; its model is an id of the configuration, so that no client can make up rows."""
    used, cost = record.usage, (record.cost_usd or 0) + record.hedge_cost_usd
    tokens = (used.prompt_tokens, used.completion_tokens) if used else (0, 0)
    return UsedByKey(at, record.wildcard or record.model_id, key, *tokens, ceil_microusd(cost * 1_000_000))
