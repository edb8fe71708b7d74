"""SDKs of providers, imported where they are first used: openai and auriko take a second each, in every worker."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .completions import CLIENT_KEY
from .gateway import Gateway

if TYPE_CHECKING:
    import auriko


class LazyModule:
    """A module that is imported when something of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._name), name)


@contextmanager
def auriko_client(gateway: Gateway) -> "Iterator[auriko.Client]":
    """Auriko's SDK, which has no way to close what it leaves open; it tries once."""
    import auriko

    client = auriko.Client(api_key=CLIENT_KEY, base_url=gateway.url, max_retries=0)
    try:
        yield client
    finally:
        client._httpx.close()  # noqa: SLF001
