"""Shell: the pages of `GET /v1/streams`, made a few streams at a time, so that thousands of them hold up nobody."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from typing import Any

from gateway.errors import InvalidParameter
from gateway.http.turns import Turns
from gateway.stream.hub import Hub

MAX_PAGE = 100  # streams
DEFAULT_PAGE = 20
DESCRIBED_IN_A_TURN = 20  # 2 ms
SEEN_IN_A_TURN = 5000  # 1 ms


def page_of(query: Mapping[str, str]) -> tuple[int, str | None]:
    """The `limit` and the `after` of a query. Raises `InvalidParameter`."""
    text = query.get("limit", str(DEFAULT_PAGE))
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MAX_PAGE):
        raise InvalidParameter(f"limit must be a whole number from 1 to {MAX_PAGE}", param="limit")
    return int(text), query.get("after")


async def read_page(
    hub: Hub, may_see: Callable[[str], bool], limit: int, after: str | None, turns: Turns
) -> dict[str, Any]:
    """The members `data`, `first_id`, `last_id` and `has_more` of a page: the newest streams behind the one `after`.

    Raises `InvalidParameter` if there is no stream `after` that may be seen.
    """
    search = _Search(hub, may_see, limit, after)
    newest_first = reversed(await turns.run(hub.ids))
    while await turns.run(lambda: search.go_on(islice(newest_first, SEEN_IN_A_TURN))):
        pass
    if not search.is_behind:
        raise InvalidParameter("there is no stream after which to go on (any more): begin anew", param="after")
    page, data = search.page, []
    for start in range(0, len(page), DESCRIBED_IN_A_TURN):
        some = page[start : start + DESCRIBED_IN_A_TURN]
        data += await turns.run(partial(_described, hub, some))
    return {
        "data": data,
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
        "has_more": search.has_more,
    }


def _described(hub: Hub, stream_ids: Iterable[str]) -> list[dict[str, Any]]:
    """The descriptions of those streams that have not been forgotten since they were found."""
    streams = map(hub.peek, stream_ids)
    return [production.describe() for production in streams if production is not None]


class _Search:
    """The search for the streams of one page."""

    def __init__(self, hub: Hub, may_see: Callable[[str], bool], limit: int, after: str | None) -> None:
        self._hub = hub
        self._may_see = may_see
        self._limit = limit
        self._after = after
        self.page: list[str] = []  # ids
        self.is_behind = after is None
        self.has_more = False

    def go_on(self, stream_ids: Iterable[str]) -> bool:
        """Look at the next streams; returns whether to go on."""
        number = 0
        for number, stream_id in enumerate(stream_ids, 1):  # noqa: B007 - the last one tells whether there were any
            owner = self._hub.owner(stream_id)
            if owner is None or not self._may_see(owner):
                continue
            if not self.is_behind:
                self.is_behind = stream_id == self._after
            elif len(self.page) == self._limit:
                self.has_more = True
                return False
            else:
                self.page.append(stream_id)
        return number == SEEN_IN_A_TURN
