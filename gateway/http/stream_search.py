"""Shell: the search among all streams for the tables of pages: filtered, sorted, one page of it.

In: a query. Out: rows that say of a stream what every key may see. The invariant: rows are made a few at a time, and
kept for a while, so that many pages that look at thousands of streams take a twentieth of the process at most.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from gateway import clock
from gateway.errors import InvalidParameter
from gateway.http.turns import Turns
from gateway.stream.hub import Hub
from gateway.stream.production import Production

MAX_SEARCHED = 5000  # streams: those that run, and the newest of those that have ended
MAX_PAGE_ROWS = 100
MAX_SEARCH_CHARACTERS = 100
ROWS_IN_A_TURN = 20  # 2 ms
FRESH_SECONDS = 2.0  # how long rows are shown before they are made again
FRESH_SHARE = 20.0  # and at least this many times as long as it took to make them

Row = dict[str, Any]
_STATES: Mapping[str, Callable[[Row], bool]] = {
    "any": lambda row: True,
    "running": lambda row: row["ending"] is None,
    "ended": lambda row: row["ending"] is not None,
    "failed": lambda row: row["ending"] is not None and row["ending"].is_fault,
}
_SORTS: Mapping[str, Callable[[Row], Any]] = {
    "created": lambda row: row["created"],
    "model": lambda row: row["model"],
    "state": lambda row: row["ending"] or row["state"],
    "upstream": lambda row: row["upstream"] or "",
    "readers": lambda row: row["readers"],
    "lag": lambda row: row["lag_events"],
    "ttft": lambda row: row["ttft"]["first_content_ms"] or 0,
    "tokens": lambda row: row["usage"]["completion_tokens"] if row["usage"] else 0,
}


class StreamQuery(NamedTuple):
    """What is searched for. `sort`: the name of a column; `text`: in the id, model, upstream or state."""

    sort: str = "created"
    descending: bool = True
    state: str = "any"
    text: str = ""
    limit: int = 25
    offset: int = 0

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> "StreamQuery":
        """The query of a URL. Raises `InvalidParameter`."""
        sort = query.get("sort", "-created")
        return cls(
            sort=_one_of("sort", sort.removeprefix("-"), _SORTS),
            descending=sort.startswith("-"),
            state=_one_of("state", query.get("state", "any"), _STATES),
            text=query.get("search", "")[:MAX_SEARCH_CHARACTERS].lower(),
            limit=max(1, min(_number(query, "limit", cls._field_defaults["limit"]), MAX_PAGE_ROWS)),
            offset=_number(query, "offset", 0),
        )


class StreamSearch:
    """The search among the streams of a hub."""

    def __init__(self, hub: Hub, turns: Turns) -> None:
        self._hub = hub
        self._turns = turns
        self._making = asyncio.Lock()
        self._rows: list[Row] = []
        self._made_at = 0.0
        self._fresh_until = 0.0

    async def find(self, query: StreamQuery) -> dict[str, Any]:
        """One page of what is found, with the number of all rows that were found and looked at."""
        async with self._making:
            if clock.monotonic() >= self._fresh_until:
                await self._make_rows()
        rows = [row for row in self._rows if _STATES[query.state](row) and _is_in(query.text, row)]
        rows.sort(key=_SORTS[query.sort], reverse=query.descending)
        return {
            "at": self._made_at,
            "found": len(rows),
            "searched": len(self._rows),
            "data": rows[query.offset : query.offset + query.limit],
        }

    async def _make_rows(self) -> None:
        began, self._made_at = clock.monotonic(), round(clock.wall_time(), 3)
        running = self._hub.running()[::-1]
        productions = (running + self._hub.newest_ended(max(0, MAX_SEARCHED - len(running))))[:MAX_SEARCHED]
        rows: list[Row] = []
        for start in range(0, len(productions), ROWS_IN_A_TURN):
            rows += await self._turns.run(partial(_rows_of, productions[start : start + ROWS_IN_A_TURN]))
        self._rows, now = rows, clock.monotonic()
        self._fresh_until = now + max(FRESH_SECONDS, FRESH_SHARE * (now - began))


def listed(production: Production) -> Row:
    """A stream as every key may see it: its prompt's size and its cost are for its owner only."""
    described = production.describe()
    usage = described["usage"]
    return {
        "id": described["id"],
        "model": described["model"],
        "dialect": described["dialect"],
        "state": described["state"],
        "ending": described["ending"],
        "upstream": described["upstream"],
        "readers": described["readers"],
        "lag_events": described["lag_events"],
        "ttft": {"first_content_ms": described["ttft"]["first_content_ms"]},
        "usage": usage and {"completion_tokens": usage["completion_tokens"], "estimated": usage["estimated"]},
        "created": described["created"],
    }


def _rows_of(productions: list[Production]) -> list[Row]:
    return [listed(production) for production in productions]


def _is_in(text: str, row: Row) -> bool:
    words = row["id"], row["model"], row["upstream"] or "", row["ending"] or row["state"]
    return not text or any(text in word.lower() for word in words)


def _one_of(name: str, word: str, known: Mapping[str, object]) -> str:
    if word not in known:
        raise InvalidParameter(f"{name} must be one of {', '.join(known)}", param=name)
    return word


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise InvalidParameter(f"{name} must be a whole number", param=name)
    return int(text)
