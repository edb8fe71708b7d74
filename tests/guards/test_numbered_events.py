"""What a relayed event of a response costs beside one of chat completions, as counts of bytecodes, never as times."""

import asyncio
import logging
import resource
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
import uvloop

from gateway.config import Config
from gateway.run.service import Service
from tests.dialects.responses.events import created, delta
from tests.kit.bytecodes import Bytecodes
from tests.kit.chain import HEAD, Client, Run
from tests.kit.completions import MODEL

WARM, COUNTED = 120, 100  # events: while they are counted, no number gets one more digit
PAUSE = 0.002  # seconds, in which all that is due in the next turns of the loop is done
PHASE = "the events"
MOST = 1.3  # times the cost of an event of chat completions
BY_THE_CLOCK = ("access/settling.py", "access/books_thread.py", "observe/loop_lag.py", "upstream/pace.py")


@pytest.fixture
def run() -> Iterator[Run]:
    """Runs a coroutine in uvloop, as the gateway does, and undoes what a service changes in its process."""
    interval, files = sys.getswitchinterval(), resource.getrlimit(resource.RLIMIT_NOFILE)
    logging.disable(logging.INFO)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner.run
    sys.setswitchinterval(interval)
    resource.setrlimit(resource.RLIMIT_NOFILE, files)
    logging.disable(logging.NOTSET)


def settings(folder: Path, port: int) -> Config:
    upstream = {
        "name": "a",
        "base_url": f"http://127.0.0.1:{port}/v1",
        "dialects": ["chat", "responses"],
        "models": [{"id": MODEL}],
    }
    storage = {"path": str(folder / "s.db")}
    return Config.model_validate({"server": {"listen": "127.0.0.1:0"}, "storage": storage, "upstreams": [upstream]})


def post(path: str, **fields: object) -> bytes:
    """A streamed request."""
    body = orjson.dumps({"model": MODEL, "stream": True, **fields})
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def chunk(block: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(block), block)


def chat_event(number: int) -> bytes:
    choice = {"index": 0, "delta": {"content": f"t{number}"}, "finish_reason": None}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    return b"data: %b\n\n" % orjson.dumps({**head, "choices": [choice]})


def plain_event(number: int) -> bytes:
    return delta(number, f"t{number}") if number else created(0)


def padded_event(number: int) -> bytes:
    return delta(number, f"t{number}", obfuscation="Xq7Zk2mB"[number % 5 :]) if number else created(0)


CHAT = post("/v1/chat/completions", messages=[{"role": "user", "content": "hi"}])
RESPONSES = post("/v1/responses", input="hi")


async def counted(folder: Path, request: bytes, event: Callable[[int], bytes]) -> float:
    """The bytecodes of one event, each of which is a read of its own and reaches the client before the next one."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        service = Service(settings(folder, listening.getsockname()[1]))
        await service.start()
        client = await Client.open(service.port, request)
        upstream, _ = await loop.sock_accept(listening)
        counts = Bytecodes()
        counts.begin("warm")
        with client.socket, upstream:
            upstream.setblocking(False)
            upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await Client(upstream).until(b'"stream"')
            await loop.sock_sendall(upstream, HEAD + chunk(event(0)))
            for number in range(1, WARM + COUNTED):
                if number == WARM:
                    counts.begin(PHASE)
                with counts.counting():
                    await loop.sock_sendall(upstream, chunk(event(number)))
                    await client.until(b'"t%d"' % number)
                    await asyncio.sleep(PAUSE)
        await service.stop()
    return counts.executed(PHASE, BY_THE_CLOCK) / COUNTED


@pytest.mark.parametrize("event", [plain_event, padded_event], ids=["plain", "with a padding"])
def test_an_event_of_a_response_costs_little_more_than_one_of_chat(
    run: Run, tmp_path: Path, event: Callable[[int], bytes]
) -> None:
    async def main() -> None:
        chat = await counted(tmp_path, CHAT, chat_event)
        numbered = await counted(tmp_path, RESPONSES, event)
        assert 0 < numbered <= MOST * chat, (numbered, chat)

    run(main())
