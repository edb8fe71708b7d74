"""Shell: the record of requests that were answered with an error: each is counted, and logged within a limit.

In: refused requests of both ways, and bytes that are no request. Out: log lines and counts. The invariant: what is
not logged is counted and told, status by status; no line holds a body, a secret, or the query of a URL.
"""

import asyncio
import logging
from collections import Counter, deque
from typing import Any, NamedTuple

from aiohttp import web

from gateway import clock
from gateway.access.pasted_secret import without_secrets
from gateway.http.admission import RequestHead, head_of
from gateway.http.errors import ERROR_CODE, ERROR_REASON, ERROR_STATUS
from gateway.observe.line_limit import LineLimit
from gateway.observe.metrics import Reading

MAX_PATH_CHARACTERS = 200  # what a line repeats of a path: the longest of ours, with the id of a model, is shorter
SUM_SECONDS = 10.0  # how long after the first unwritten line their number is told
_SUSPICIOUS = frozenset({401, 403})  # somebody may be trying keys; the gateway's own faults are 500 and above
_OTHER_VERSION = 505  # of HTTP: the fault of the client alone, unlike the other errors from 500 on

MAX_FAILED = 100  # failed requests that wait to be taken: more than that a page does not show

_log = logging.getLogger("rivergate.api")


class AnsweredFailure(NamedTuple):
    """A request that was answered with an error of the gateway or an upstream. `at`: Unix seconds. `key`: its id.

    `reason`: in our own words.
    """

    at: float
    status: int
    code: str
    request_id: str
    key: str | None
    reason: str


class Refusals:
    """The record of one gateway."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._limit = LineLimit()
        self._timer: asyncio.TimerHandle | None = None
        self._failed: deque[AnsweredFailure] = deque(maxlen=MAX_FAILED)

    def on_refused(
        self, status: int, code: str, head: RequestHead | None = None, line: str = "", reason: str = ""
    ) -> None:
        """Take a request that was answered with an error. `line`: its method and path; "" if it has none.

        `reason`: in our own words, for the pages that tell of failures.
        """
        self._counts[str(status), code] += 1
        if status >= 500 and status != _OTHER_VERSION and head is not None:
            key = head.account.key.id if head.account is not None else None
            self._failed.append(AnsweredFailure(clock.wall_time(), status, code, head.request_id, key, reason))
        if self._limit.allow(str(status), clock.monotonic()):
            request = without_secrets(line)[:MAX_PATH_CHARACTERS]
            fields = {"status": status, "code": code, "request": request or None, **_known(head)}
            if (status >= 500 and status != _OTHER_VERSION) or status in _SUSPICIOUS:
                _log.warning("request refused", extra={"fields": fields})
            else:
                _log.info("request refused", extra={"fields": fields})
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SUM_SECONDS, self._sum_up)

    async def on_prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Take the response of aiohttp's way to a request, which may be an error."""
        if (code := response.get(ERROR_CODE)) is not None:
            self.on_refused(
                response.get(ERROR_STATUS, response.status),
                code,
                head_of(request),
                f"{request.method} {request.path}",
                response.get(ERROR_REASON, ""),
            )

    @property
    def total(self) -> int:
        """How many requests were answered with an error."""
        return self._counts.total()

    def take_failed(self) -> list[AnsweredFailure]:
        """The newest requests since the last call that failed by no fault of their client."""
        failed = list(self._failed)
        self._failed.clear()
        return failed

    def reading(self) -> Reading:
        """The counts, by status and code."""
        values = {labels: float(count) for labels, count in self._counts.items()}
        text = "Requests that were answered with an error, by HTTP status and code."
        return Reading("rivergate_refusals", text, values, ("status", "code"), counts=True)

    def close(self) -> None:
        """Tell what has not been told."""
        if self._timer is not None:
            self._timer.cancel()
            self._sum_up()

    def _sum_up(self) -> None:
        self._timer = None
        unwritten = self._limit.take_unwritten()
        _log.warning("requests refused without a line each", extra={"fields": {"by_status": unwritten}})


def _known(head: RequestHead | None) -> dict[str, Any]:
    """What is known of the sender: the id of the request, and the key that was sent, by its id and name."""
    if head is None:
        return {"request_id": None, "key": None, "key_name": None}
    account = head.account
    key = account.key if account is not None else None
    return {"request_id": head.request_id, "key": key and key.id, "key_name": key and key.name}
