"""Shell: the pages of `GET /v1/streams`, made a few streams at a time, so that thousands of them hold up nobody."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.errors import InvalidParameter
from gateway.stream.hub import Production

MAX_PAGE = 100  # streams
DEFAULT_PAGE = 20
DESCRIBED_IN_A_TURN = 5  # 0.5 ms
SEEN_IN_A_TURN = 5000  # 1 ms


def page_of(query: Mapping[str, str]) -> tuple[int, str | None]:
    """The `limit` and the `after` of a query. Raises `InvalidParameter`."""
    text = query.get("limit", str(DEFAULT_PAGE))
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MAX_PAGE):
        raise InvalidParameter(f"limit must be a whole number from 1 to {MAX_PAGE}", param="limit")
    return int(text), query.get("after")


async def read_page(
    streams: Sequence[Production], may_see: Callable[[str], bool], limit: int, after: str | None
) -> dict[str, Any]:
    """The members `data`, `first_id`, `last_id` and `has_more` of a page: the newest streams behind the one `after`.

    `streams`: all streams, oldest first. Raises `InvalidParameter` if there is no stream `after` that may be seen.
    """
    page: list[Production] = []
    has_more, is_behind = False, after is None
    for number, production in enumerate(reversed(streams), 1):
        if number % SEEN_IN_A_TURN == 0:
            await asyncio.sleep(0)
        if not may_see(production.owner):
            continue
        if not is_behind:
            is_behind = production.id == after
        elif len(page) == limit:
            has_more = True
            break
        else:
            page.append(production)
    if not is_behind:
        raise InvalidParameter("there is no stream after which to go on (any more): begin anew", param="after")
    return {
        "data": await _described(page),
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
        "has_more": has_more,
    }


async def _described(page: Sequence[Production]) -> list[dict[str, Any]]:
    described = []
    for number, production in enumerate(page, 1):
        described.append(production.describe())
        if number % DESCRIBED_IN_A_TURN == 0:
            await asyncio.sleep(0)
    return described
