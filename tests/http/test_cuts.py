"""A subscription that is cut at any byte goes on without loss or repetition, whatever kind of client reads it."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kit.completions import MODEL, QUICK
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import RawClient
from tests.kit.scripted_upstream import STREAM_HEAD, ScriptedUpstream, Step
from tests.kit.streams import create
from tests.kit.upstreams import Upstream

Seen = tuple[list[tuple[str, str]], str]  # the name and the data of each event, and the id to go on behind
BODY = (
    STREAM_HEAD
    + b"retry: 10\n\n"
    + b"".join(
        (b"id: s%d\n" % n if n % 2 else b"") + b"event: tick\ndata: %d\ndata: \xc3\xa4\n\n" % n for n in range(5)
    )
)


def unchunked(answer: bytes) -> bytes:
    """The body of an answer as far as it has come."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    if b"chunked" not in head.lower():
        return rest
    body = b""
    while (found := re.match(rb"([0-9a-f]+)\r\n", rest)) and (size := int(found[1], 16)):
        body += rest[found.end() : found.end() + size]
        rest = rest[found.end() + size + 2 :]
    return body


def fields_of(block: str) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        if name:
            fields.setdefault(name, []).append(value.removeprefix(" "))
    return fields


def as_event(fields: dict[str, list[str]]) -> tuple[str, str]:
    return fields.get("event", ["message"])[-1], "\n".join(fields.get("data", [""]))


def by_the_book(body: bytes, last_id: str) -> Seen:
    """WHATWG: an id counts with the blank line behind it; a block without data is no event."""
    events = []
    for block in body.decode(errors="ignore").split("\n\n")[:-1]:
        fields = fields_of(block)
        last_id = fields.get("id", [last_id])[-1]
        if "data" in fields:
            events.append(as_event(fields))
    return events, last_id


def every_block(body: bytes, last_id: str) -> Seen:
    """r3labs/sse, older go-sse and httpx-sse: each block is an event, whether it has data or not."""
    events = []
    for block in body.decode(errors="ignore").split("\n\n")[:-1]:
        fields = fields_of(block)
        last_id = fields.get("id", [last_id])[-1]
        events.append(as_event(fields))
    return events, last_id


def ids_at_once(body: bytes, last_id: str) -> Seen:
    """fetch-event-source: each block is an event, and an id counts as soon as its line is complete."""
    events, _ = every_block(body, last_id)
    ids = re.findall(r"^id: ?([^\n]*)\n", body.decode(errors="ignore"), re.MULTILINE)
    return events, ids[-1] if ids else last_id


KINDS: dict[str, Callable[[bytes, str], Seen]] = {
    "by the book": by_the_book,
    "every block": every_block,
    "ids at once": ids_at_once,
}


@pytest.fixture(scope="module")
def gateway(logs: Path, alpha: Upstream) -> Iterator[LocalGateway]:
    def play(request: bytes) -> Iterator[Step]:
        yield b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n" if b"Last-Event-ID" in request else BODY

    source = ScriptedUpstream("source", play)
    feed = f'[[feeds]]\nname = "ended"\nurl = "{source.base_url}"\n'
    gateway = LocalGateway(logs, configuration([(alpha, [MODEL])], feed), KEYS)
    yield gateway
    gateway.close()
    source.close()


@pytest.fixture(params=["a stream", "a feed", "a feed with the source's ids"])
def path(request: pytest.FixtureRequest, gateway: LocalGateway) -> str:
    if request.param == "a stream":
        return str(create(gateway, QUICK)["events_url"])
    return "/v1/feeds/ended/events" + ("?ids=source" if "ids" in request.param else "")


def read(gateway: LocalGateway, path: str, version: str, last_id: str) -> bytes:
    """The whole answer to a client that has seen this id."""
    with RawClient(gateway.port) as client:
        client.request("GET", path, version=version, Accept="text/event-stream", Last_Event_ID=last_id)
        answer = b""
        while data := client.receive():
            answer += data
            if answer.startswith(b"HTTP/1.1 204"):
                break
        return answer


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_subscription_that_is_cut_at_any_byte_goes_on_where_it_was(
    gateway: LocalGateway, path: str, version: str
) -> None:
    whole = read(gateway, path, version, "")
    first = unchunked(whole)
    assert first.startswith(b": connected\nretry: ")
    right, last = by_the_book(first, "")
    assert right[-1] == ("end", '{"ending":"completed"}')
    rests: dict[str, bytes] = {"": first, last: b""}
    for kind, take in KINDS.items():
        assert take(first, "")[0] == right, kind  # no block without data
        for cut in range(len(whole)):
            before = unchunked(whole[:cut])
            if kind == "ids at once" and re.search(rb"\nid: [^\n]*\n\Z", before):
                continue  # the event is lost to such a client, whatever a server does
            events, last_id = take(before, "")
            if last_id not in rests:
                rests[last_id] = unchunked(read(gateway, path, version, last_id))
            assert events + take(rests[last_id], last_id)[0] == right, (kind, cut)
