"""What SSE sources send, and what the subscriber of a feed gets of it. All feeds are of one gateway."""

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tests.kit.gateway import LocalGateway
from tests.kit.http_client import call
from tests.kit.scripted_upstream import ScriptedUpstream, Step, response
from tests.kit.sse_client import Subscriber
from tests.kit.waiting import wait_for

from .cases import cases

CASES = [*cases("sources.toml"), *cases("source_formats.toml")]
LONG = {
    "{9MiB}": "x" * (9 << 20),
    "{9kB}": "y" * 9000,
    "{4096}": "i" * 4096,
    "{4097}": "i" * 4097,
    "{lines}": "\n".join(["data: z"] * 30_000),
    "{umlauts}": "ä" * 2000,
}
PAUSE, LONG_PAUSE = 0.002, 60.0  # seconds
HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"


def filled(text: str) -> str:
    """The text with the long parts that it names."""
    return re.sub("|".join(map(re.escape, LONG)), lambda found: LONG[found[0]], text)


def answer_of(given: str | dict[str, Any]) -> bytes:
    """The bytes of an answer."""
    if isinstance(given, str):
        return f"{HEAD}\r\n{filled(given)}".encode()
    if "closes" in given:
        return b""
    for coding, pack in (("gzip", gzip.compress), ("deflate", zlib.compress)):
        if coding in given:
            return f"{HEAD}Content-Encoding: {coding}\r\n\r\n".encode() + pack(filled(given[coding]).encode())
    fields = {"Content-Type": "", **given.get("fields", {})}
    if given["status"] == 204:
        return b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
    kind = fields.pop("Content-Type")
    return response(given["status"], given.get("body", "").encode(), kind, **fields)


class Source(ScriptedUpstream):
    """A source that gives one answer after the other, and the last one again and again."""

    def __init__(self, name: str, case: dict[str, Any]) -> None:
        self._answers = list(map(answer_of, case["answers"]))
        self._pieces = case.get("pieces", 0)  # bytes of a piece of the body
        self._holds = case.get("holds", False)  # the connection stays open
        super().__init__(name, self._play)

    def _play(self, request: bytes) -> Iterable[Step]:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if not self._pieces:
            yield answer
        else:
            head, blank, body = answer.partition(b"\r\n\r\n")
            yield head + blank
            for at in range(0, len(body), self._pieces):
                yield PAUSE
                yield body[at : at + self._pieces]
        if self._holds:
            yield LONG_PAUSE

    def asked(self) -> list[str]:
        """The ids in the requests so far."""
        found = [re.search(rb"\r\nLast-Event-ID: ([^\r]*)", request) for request in self.requests]
        return [id_[1].decode() if id_ else "" for id_ in found]

    def paths(self) -> list[str]:
        """The targets of the requests so far."""
        return [request.split(b" ")[1].decode() for request in self.requests]


def feed_name(case: dict[str, Any]) -> str:
    return re.sub(r"[^a-z0-9]+", "-", case["name"].lower())[:60]


@pytest.fixture(scope="module")
def sources() -> Iterator[dict[str, Source]]:
    opened = {name: Source(name, case) for (case,) in (param.values for param in CASES) if (name := feed_name(case))}
    yield opened
    for source in opened.values():
        source.close()


@pytest.fixture(scope="module")
def feeds(tmp_path_factory: pytest.TempPathFactory, sources: dict[str, Source]) -> Iterator[LocalGateway]:
    """A gateway with a feed for each case."""
    parts = ['[server]\nlisten = "127.0.0.1:0"\n']
    for (case,) in (param.values for param in CASES):
        name = feed_name(case)
        parts.append(f'[[feeds]]\nname = "{name}"\nurl = "{sources[name].base_url}/events"\nlinger_seconds = 0\n')
        parts.append(case.get("feed", "") + "\n")
    gateway = LocalGateway(tmp_path_factory.mktemp("sources"), "".join(parts))
    yield gateway
    gateway.close()


def described(gateway: LocalGateway, name: str) -> dict[str, Any]:
    listed = json.loads(call(gateway, "GET", "/v1/feeds").body)["data"]
    return next(entry for entry in listed if entry["id"] == f"feed:{name}")


@pytest.mark.parametrize("case", CASES)
def test_a_subscriber_gets_of_a_source_what_is_right(
    case: dict[str, Any], feeds: LocalGateway, sources: dict[str, Source]
) -> None:
    name = feed_name(case)
    source = sources[name]
    with Subscriber(feeds.port, f"/v1/feeds/{name}/events?{case.get('query', '')}") as subscriber:
        events = subscriber.events(len(case["expect"]))
        assert [[event.name, event.data] for event in events] == case["expect"]
        if "ids" in case:
            assert [(event.id or "").partition("/")[2] for event in events] == case["ids"]
        asked, paths = list(map(filled, case.get("asked", []))), case.get("paths", [])
        wait_for(lambda: source.asked()[: len(asked)] == asked, f"requests with the ids {case.get('asked')}")
        wait_for(lambda: source.paths()[: len(paths)] == paths, f"requests for {paths}")
        if "state" in case or "error" in case:
            wait_for(lambda: described(feeds, name)["state"] == case["state"], f"the state {case['state']}")
            told = described(feeds, name)
            assert case.get("error", "") in str(told["last_error"])
            assert "secret" not in str(told)
