"""Pure: requests, tokens and cost of the last hours, by model and key, as sums in memory.

In: what each completion has used. Out: rows for pages. The invariant: an hour has at most `MAX_GROUPS` rows, and
`HOURS` hours are kept.
"""

from typing import Any, NamedTuple

HOURS = 24
MAX_GROUPS = 200  # pairs of a model and a key that an hour keeps apart; what is beyond them is one row without names
HOUR_SECONDS = 3600


class UsedByKey(NamedTuple):
    """What one completion has used. `key`: its id; None: no key, in open mode."""

    at: int  # Unix seconds
    model: str
    key: str | None
    prompt_tokens: int
    completion_tokens: int
    cost_microusd: int


class HourlyUsage:
    """The sums of each of the last hours, which begin at whole hours of UTC."""

    def __init__(self) -> None:
        self._hours: dict[int, dict[tuple[str | None, str | None], list[int]]] = {}  # the newest is last

    def add(self, used: UsedByKey) -> None:
        hour = used.at - used.at % HOUR_SECONDS
        groups = self._hours.get(hour)
        if groups is None:
            groups = self._hours[hour] = {}
            while len(self._hours) > HOURS:
                del self._hours[min(self._hours)]
        group: tuple[str | None, str | None] = used.model, used.key
        if group not in groups and len(groups) >= MAX_GROUPS:
            group = None, None
        sums = groups.setdefault(group, [0, 0, 0, 0])
        for place, value in enumerate((1, used.prompt_tokens, used.completion_tokens, used.cost_microusd)):
            sums[place] += value

    def as_json(self, now: float) -> list[dict[str, Any]]:
        """A row for each hour, model and key, the oldest hour first. A model of None stands for all further ones."""
        begin = now - now % HOUR_SECONDS - (HOURS - 1) * HOUR_SECONDS
        return [
            {
                "hour": hour,
                "model": model,
                "key": key,
                "requests": requests,
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "cost_usd": cost / 1_000_000,
            }
            for hour, groups in sorted(self._hours.items())
            if hour >= begin
            for (model, key), (requests, prompt, completion, cost) in groups.items()
        ]
