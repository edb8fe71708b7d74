"""A fault of the gateway's own in mid-reply: the client is let go of, and nothing runs on for it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from multidict import CIMultiDict

from gateway.config import Config
from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import check
from gateway.http.admission import Admission, RequestHead
from gateway.http.answer_plan import plan_answer
from gateway.http.client_connection import ClientProtocol, FastWay
from gateway.http.fast_path import FastPath
from gateway.http.opening import Opening
from gateway.http.request_parser import PlainRequest, Unparsed, parse_request
from gateway.http.streamed_reply import ReplyParts, StreamedReply
from gateway.run.service import Seams, Service
from gateway.simulate import Provider, Script
from tests.kit.waiting import PATIENCE

from .corpus import MODEL, body, post

READY = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class OddAdmission(Admission):
    """An admission whose headers HTTP forbids."""

    def __init__(self, parts: ReplyParts) -> None:
        vars(self).update(vars(parts.admission))

    def answer_headers(self, head: RequestHead) -> dict[str, str]:
        return {"x-odd": "a line\nand another"}


class HeadlessReply(StreamedReply):
    """A reply that cannot write its head."""

    def _write_head(self) -> None:
        raise ZeroDivisionError


class HeadlessWay:
    """A fast way all of whose replies are headless; `outcomes` are what they ended with."""

    def __init__(self, parts: ReplyParts) -> None:
        self._parts = parts
        self.outcomes: list[Exception | None] = []

    def parse(self, data: bytes) -> PlainRequest | Unparsed:
        return parse_request(data)

    def answer(self, client: ClientProtocol, request: PlainRequest) -> bool:
        headers: Mapping[str, str] = CIMultiDict(request.fields)
        parts = self._parts
        plan = plan_answer(headers, check(CHAT, request.content), parts.in_force.config.stream)
        opening = Opening(parts.opening, plan, RequestHead(headers, "req", parts.admission.known_caller(headers)))
        opening.prepare()
        opening.admit_at_once()

        def on_end(outcome: Exception | None) -> None:
            self.outcomes.append(outcome)
            client.on_answered(keep_alive=False)

        HeadlessReply(client, on_end).start(opening, parts, chunked=True, keep_alive=True)
        return True


async def asked(port: int, request: bytes) -> bytes:
    """What comes until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(PATIENCE):
        received = await reader.read()
    writer.close()
    return received


async def answer_of(folder: Path, build: Callable[[ReplyParts], FastWay]) -> bytes:
    """What a client of a service with this fast way gets, once no completion runs there any more."""
    upstream = await Provider.start(script=Script(ttft_ms=1, gap_ms=5, tokens=100_000))
    settings = {
        "server": {"listen": "127.0.0.1:0"},
        "storage": {"path": f"{folder}/s.db"},
        "upstreams": [{"name": "alpha", "base_url": upstream.base_url, "models": [{"id": MODEL}]}],
    }
    service = Service(
        Config.model_validate(settings),
        seams=Seams(build_fast_way=lambda parts, size: build(parts)),
        tunes_collector=False,
    )
    await service.start()
    try:
        received = await asked(service.port, post("any", body()).encode(None))
        async with asyncio.timeout(PATIENCE):
            while b'"streams":0' not in await asked(service.port, READY):
                pass
        return received
    finally:
        await service.stop()
        await upstream.close()


async def test_an_answer_whose_headers_cannot_be_encoded_is_given_up(tmp_path: Path) -> None:
    def build(parts: ReplyParts) -> FastPath:
        return FastPath(replace(parts, admission=OddAdmission(parts)), 1 << 20)

    assert await answer_of(tmp_path, build) == b""


async def test_a_reply_that_cannot_write_its_head_ends_with_the_fault(tmp_path: Path) -> None:
    ways: list[HeadlessWay] = []

    def build(parts: ReplyParts) -> HeadlessWay:
        ways.append(HeadlessWay(parts))
        return ways[0]

    assert await answer_of(tmp_path, build) == b""
    assert [type(outcome) for outcome in ways[0].outcomes] == [ZeroDivisionError]
