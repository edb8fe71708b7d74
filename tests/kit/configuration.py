"""Configuration files of gateways, as text."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from .completions import UPSTREAM_KEY

KEYS = {"TEST_UPSTREAM_KEY": UPSTREAM_KEY}
# Asks the upstreams in the order of the configuration, however often they fail: tests make them fail by the dozen.
ORDERED = '[routing]\noptimize = "priority"\nbreaker_failures = 0\nmax_cooldown_seconds = 0\n'


class Addressed(Protocol):
    """Whatever a configuration may name as an upstream."""

    @property
    def name(self) -> str: ...

    @property
    def base_url(self) -> str: ...


Served = Sequence[tuple[Addressed, Sequence[str]]]  # upstreams with their models


def configuration(
    upstreams: Served, sections: str = "", prices: Mapping[str, tuple[float, float]] | None = None
) -> str:
    """A configuration file: these upstreams with their models, and all else by default.

    `prices`: USD per million tokens of input and output, by the upstream's name; the others cost the same.
    """
    parts = [sections if "[server]" in sections else f'[server]\nlisten = "127.0.0.1:0"\n{sections}']
    for upstream, models in upstreams:
        parts.append(f'[[upstreams]]\nname = "{upstream.name}"\nbase_url = "{upstream.base_url}"')
        parts.append('api_key_env = "TEST_UPSTREAM_KEY"\ndialects = ["chat", "responses", "messages"]')
        given, output = (prices or {}).get(upstream.name, (2.5, 10.0))
        for model in models:
            parts.append(f'[[upstreams.models]]\nid = "{model}"\nupstream_id = "{model.rpartition("/")[2]}-2024"')
            parts.append(f"input_usd_per_mtok = {given}\noutput_usd_per_mtok = {output}")
    return "\n".join(parts) + "\n"


def feed(name: str, upstream: Addressed, query: str, more: str = "") -> str:
    """A feed from the simulated provider, whose query says what comes."""
    return f'[[feeds]]\nname = "{name}"\nurl = "{upstream.base_url}/events?{query}"\n{more}\n'
