"""SDKs of providers, imported at their first use: to import openai or auriko takes a worker a second each."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .completions import CLIENT_KEY
from .gateway import Gateway

if TYPE_CHECKING:
    import auriko


class LazyModule:
    """A module that is imported when one of its attributes is read."""

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
