"""A gateway in front of providers that speak the Responses API."""

from pathlib import Path

from .configuration import KEYS, ORDERED, Served, configuration
from .gateway import LocalGateway


def responses_gateway(logs: Path, served: Served) -> LocalGateway:
    """A gateway that asks its upstreams in their order, in chat and in responses."""
    return LocalGateway(logs, configuration(served, ORDERED, dialects=("chat", "responses")), KEYS)
