"""readers.py <JSON list of {client, url}>: subscribers in Python as their users write them, all at once.

Prints what each was told, as [name, data, id] of all events, and how it came to its end.
"""

import importlib
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import requests

connect_sse: Any = importlib.import_module("httpx_sse").connect_sse
sse_client: Any = importlib.import_module("sseclient").SSEClient

PAUSE = 0.05  # seconds before the next connection
PATIENCE = 40.0


def headers_behind(events: list[list[str]]) -> dict[str, str]:
    ids = [event[2] for event in events if event[2]]
    return {"Accept": "text/event-stream", **({"Last-Event-ID": ids[-1]} if ids else {})}


def note(events: list[list[str]], event: Any) -> None:
    events.append([event.event, event.data, event.id or ""])


def httpx_sse(url: str, events: list[list[str]]) -> bool:
    """Read one connection with httpx-sse; returns whether there is nothing more."""
    try:
        with (
            httpx.Client(timeout=PATIENCE) as client,
            connect_sse(client, "GET", url, headers=headers_behind(events)) as source,
        ):
            if source.response.status_code == 204:
                return True
            for event in source.iter_sse():
                note(events, event)
    except httpx.TransportError:
        pass
    return False


def sseclient_py(url: str, events: list[list[str]]) -> bool:
    """Read one connection with sseclient-py; returns whether there is nothing more."""
    try:
        with requests.get(url, stream=True, headers=headers_behind(events), timeout=PATIENCE) as response:
            if response.status_code == 204:
                return True
            for event in sse_client(response).events():
                note(events, event)
    except requests.RequestException:
        pass
    return False


CLIENTS = {"httpx-sse": httpx_sse, "sseclient-py": sseclient_py}


def read(asked: dict[str, str]) -> dict[str, Any]:
    events: list[list[str]] = []
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if CLIENTS[asked["client"]](asked["url"], events):
            return {"events": events, "stopped": "by itself"}
        time.sleep(PAUSE)
    return {"events": events, "stopped": "not at all"}


asked = json.loads(sys.argv[1])
with ThreadPoolExecutor(len(asked)) as threads:
    print(json.dumps(list(threads.map(read, asked))))
