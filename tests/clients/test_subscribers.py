"""Clients of server-sent events as their users write them: cut at many bytes, through silence, and up to the end.

None is told an empty message, none misses or repeats an event, and all come to an end.
"""

import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.kit.cutting import CuttingForwarder
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import RawClient, call
from tests.kit.scripted_upstream import STREAM_HEAD, ScriptedUpstream, Step
from tests.kit.sse_client import Subscriber
from tests.kit.venvs import installed_python, told_by
from tests.kit.waiting import wait_for

pytestmark = pytest.mark.deep

FOLDER = Path(__file__).parent / "subscribers"
IN_NODE = ["eventsource", "polyfill", "extended", "reconnecting", "fetchEventSource"]
IN_PYTHON = ["httpx-sse", "sseclient-py"]
# Those that ask again after a 204 have to be closed by their page, which is told the end.
CLOSED_BY_THEIR_PAGE = {"polyfill", "reconnecting"}
COUNT = 8  # events
CUTS = 20
NO_CONTENT = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
EVENTS = [b'event: tick\nid: %d\ndata: {"n":%d,\ndata: "text":"\xc3\xa4"}\n\n' % (n, n) for n in range(1, COUNT + 1)]


def at_once(request: bytes) -> Iterator[Step]:
    """All events, and at the next request the end."""
    yield NO_CONTENT if b"Last-Event-ID" in request else STREAM_HEAD + b"retry: 10\n\n" + b"".join(EVENTS)


def one_by_one(request: bytes) -> Iterator[Step]:
    """The events with silence between them."""
    if b"Last-Event-ID" in request:
        yield NO_CONTENT
        return
    yield STREAM_HEAD + b"retry: 10\n\n"
    for event in EVENTS:
        yield 0.1
        yield event


@pytest.fixture(scope="module")
def forwarder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CuttingForwarder]:
    """The way to a gateway with a feed that has ended, and one that begins with its first subscriber."""
    sources = {"ended": ScriptedUpstream("ended", at_once)}
    sources |= {name: ScriptedUpstream(name, one_by_one) for name in ("node", "python")}
    parts = ['[server]\nlisten = "127.0.0.1:0"\n[stream]\nkeepalive_seconds = 0.02\n']
    parts += [f'[[feeds]]\nname = "{name}"\nurl = "{source.base_url}"\n' for name, source in sources.items()]
    gateway = LocalGateway(tmp_path_factory.mktemp("subscribers"), "".join(parts))
    forwarder = CuttingForwarder(gateway.port)
    try:
        with Subscriber(gateway.port, "/v1/feeds/ended/events") as subscriber:
            subscriber.all_events()
        yield forwarder
    finally:
        forwarder.close()
        gateway.close()
        for source in sources.values():
            source.close()


def answer_of(port: int, path: str) -> bytes:
    """The bytes of a whole answer, all of it."""
    with RawClient(port) as client:
        client.request("GET", path, Accept="text/event-stream")
        return b"".join(iter(client.receive, b""))


def cuts_of(answer: bytes) -> list[int]:
    """Where to cut: at bytes all over the answer.

    fetch-event-source notes an id when its line is complete, although the event follows only with the blank line:
    what is cut between these two bytes it never sees, whatever a server does.
    """
    beyond_help = {found.end() for found in re.finditer(rb"\nid: [^\n]*\n(?=\n)", answer)}
    step = len(answer) / CUTS
    cuts = [int(step * number) + number % 7 + 1 for number in range(CUTS)]
    return [cut - 1 if cut in beyond_help else cut for cut in cuts]


def asked_of(forwarder: CuttingForwarder, clients: list[str], live: str) -> list[dict[str, str]]:
    feeds = f"http://127.0.0.1:{forwarder.port}/v1/feeds"
    cuts = cuts_of(answer_of(forwarder.port, "/v1/feeds/ended/events"))
    asked = [
        {"client": client, "url": f"{feeds}/ended/events?client={client}&cut={cut}"}
        for client, cut in itertools.product(clients, cuts)
    ]
    return asked + [{"client": client, "url": f"{feeds}/{live}/events"} for client in clients]


def check(asked: list[dict[str, str]], told: list[dict[str, Any]]) -> None:
    right = [["tick", f'{{"n":{n},\n"text":"ä"}}'] for n in range(1, COUNT + 1)]
    right.append(["end", '{"ending":"completed"}'])
    wrong = {}
    for question, answer in zip(asked, told, strict=True):
        events = [event[:2] for event in answer["events"]]
        stops = "by its page" if question["client"] in CLOSED_BY_THEIR_PAGE else "by itself"
        if (events, answer["stopped"]) != (right, stops):
            wrong[question["client"], question["url"]] = answer
    assert wrong == {}


def test_subscribers_in_node_get_every_event_once_over_cuts_and_silence(
    node: Callable[..., Any], forwarder: CuttingForwarder
) -> None:
    asked, cuts = asked_of(forwarder, IN_NODE, "node"), forwarder.cuts
    check(asked, node("subscribers.mjs", json.dumps(asked)))
    assert forwarder.cuts == cuts + CUTS * len(IN_NODE)


def test_subscribers_in_python_get_every_event_once_over_cuts_and_silence(forwarder: CuttingForwarder) -> None:
    asked, cuts = asked_of(forwarder, IN_PYTHON, "python"), forwarder.cuts
    python = installed_python("subscribers", FOLDER / "requirements.txt")
    check(asked, told_by(python, FOLDER / "readers.py", json.dumps(asked)))
    assert forwarder.cuts == cuts + CUTS * len(IN_PYTHON)


def test_who_finds_no_room_comes_again_and_gets_everything(
    node: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    clients = ["eventsource", "polyfill", "extended", "reconnecting"]
    go = threading.Event()

    def held(request: bytes) -> Iterator[Step]:
        if b"Last-Event-ID" in request:
            yield NO_CONTENT
            return
        yield STREAM_HEAD + b"retry: 10\n\n" + b"".join(EVENTS)
        assert go.wait(60.0)

    source = ScriptedUpstream("held", held)
    parts = ['[server]\nlisten = "127.0.0.1:0"\n[stream]\nmax_subscribers = 1\n']
    parts += [f'[[feeds]]\nname = "{client}"\nurl = "{source.base_url}"\n' for client in clients]
    gateway = LocalGateway(tmp_path_factory.mktemp("full"), "".join(parts))
    asked = [
        {"client": client, "url": f"http://127.0.0.1:{gateway.port}/v1/feeds/{client}/events"} for client in clients
    ]
    try:
        with ThreadPoolExecutor(1) as thread, ExitStack() as holders:
            for client in clients:
                holder = holders.enter_context(Subscriber(gateway.port, f"/v1/feeds/{client}/events"))
                holder.events(COUNT)
            told = thread.submit(node, "subscribers.mjs", json.dumps(asked))
            refused = 'rivergate_refusals_total{code="service_unavailable",status="503"}'
            wait_for(lambda: re.search(rf"{re.escape(refused)} [4-9]", metrics_of(gateway)), "all to be refused")
            holders.close()
            go.set()
            check(asked, told.result())
    finally:
        go.set()
        gateway.close()
        source.close()


def metrics_of(gateway: LocalGateway) -> str:
    return call(gateway, "GET", "/metrics", Connection="close").body.decode()
