"""Shell: the endpoints `GET /v1/me` and `GET /v1/usage`, which tell a key about itself."""

import datetime
from typing import Any, Literal

from aiohttp import web

from gateway import clock
from gateway.access.books import SUM_NAMES
from gateway.access.books_thread import BooksThread
from gateway.errors import InvalidParameter, LedgerError, ServiceUnavailable
from gateway.http.admission import CALLER
from gateway.http.errors import json_response

UNLIMITED_RPM = 1_000_000  # stands for no limit, since Auriko's SDK needs a number
REPORT_DAYS = 30  # the days of a report without `from`
_DAY = 86400


class KeyEndpoints:
    """The endpoints that tell a key about itself."""

    def __init__(self, books: BooksThread, started_at: int) -> None:
        """Serve from these books. `started_at`, in Unix seconds, stands for a key's creation time in open mode."""
        self._books = books
        self._started_at = started_at

    async def get_me(self, request: web.Request) -> web.Response:
        """The key in the shape of Auriko's SDK; in open mode, a description that says there is no key."""
        account = request[CALLER].account
        key = account.key if account is not None else None
        rpm = (key.rpm if key is not None else None) or UNLIMITED_RPM
        body: dict[str, Any] = {
            "credential_type": "api_key",
            "status": "active",
            "profile": "gateway",
            "key_id": key.id if key else "open",
            "key_prefix": key.prefix if key else "",
            "key_name": key.name if key else "open mode: this gateway has no keys",
            "workspace": {"id": "rivergate", "name": "rivergate"},
            "scopes": ["inference", *(key.rights if key else [])],
            "rate_limits": {"inference_rpm": rpm, "management_reads_rpm": rpm, "management_writes_rpm": rpm},
            "expires_at": _iso(key.expires_at) if key and key.expires_at is not None else None,
            "created_at": _iso(key.created_at if key else self._started_at),
            "models": list(key.models) if key else [],
            "balance_usd": None if account is None or account.available is None else account.available / 1_000_000,
            "max_streams": key.max_streams if key else None,
        }
        return json_response(body)

    async def get_usage(self, request: web.Request) -> web.Response:
        """The sums of the caller's own records; `from` and `to` are UTC days, both included."""
        account = request[CALLER].account
        group_by = request.query.get("group_by", "day")
        if group_by not in ("day", "model"):
            raise InvalidParameter("group_by must be day or model", param="group_by")
        group: Literal["day", "model"] = "model" if group_by == "model" else "day"
        today = int(clock.wall_time()) // _DAY * _DAY
        end = _day(request, "to", today)
        start = _day(request, "from", max(end - (REPORT_DAYS - 1) * _DAY, 0))
        if start > end:
            raise InvalidParameter("from must not be after to", param="from")
        try:
            rows = await self._books.report(account.key.id if account else None, start, end + _DAY, group)
        except LedgerError:
            raise ServiceUnavailable("the ledger cannot be read; try again later", retry_after=5) from None
        data = [_in_usd(row) for row in rows]
        total = _in_usd({name: sum(row[name] for row in rows) for name in SUM_NAMES})
        period = {"from": _date(start), "to": _date(end), "group_by": group}
        return json_response({"object": "list", **period, "data": data, "total": total})


def _in_usd(row: dict[str, Any]) -> dict[str, Any]:
    """The sums of one row, with micro-dollars converted to US dollars."""
    suffix = "_microusd"
    return {
        (name.removesuffix(suffix) + "_usd" if name.endswith(suffix) else name): (
            value / 1_000_000 if name.endswith(suffix) else value
        )
        for name, value in row.items()
    }


def _day(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    try:
        days = (datetime.date.fromisoformat(text) - datetime.date(1970, 1, 1)).days
    except ValueError:
        days = -1
    if days < 0:
        raise InvalidParameter(f"{name} must be a day from 1970 on: YYYY-MM-DD", param=name)
    return days * _DAY


def _date(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date().isoformat()


def _iso(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()
