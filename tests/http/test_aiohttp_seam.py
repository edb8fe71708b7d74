"""The private members of aiohttp behave as the gateway relies on. A failure says that an upgrade changed a member."""

import ast
import asyncio
import importlib.metadata
import inspect
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import (
    StreamReader,
    base_protocol,
    http_writer,
    streams,
    web,
    web_app,
    web_protocol,
    web_request,
    web_response,
    web_runner,
    web_server,
)

import gateway
from gateway.http import aiohttp_seam as seam

from .loopback import connected, until

ROOT = Path(gateway.__file__).parent
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
BROKEN = b"nonsense\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"


class Gate:
    """A handler that answers when the test opens it."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.entered = 0
        self.waiting = False

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        self.entered += 1
        self.waiting = True
        await self.may_answer.wait()
        self.waiting = False
        return web.Response(text="answered")


async def reads_its_body(request: web.BaseRequest) -> web.Response:
    return web.Response(body=await request.read())


def handler(server: web.Server) -> web.RequestHandler:
    return web.RequestHandler(server, loop=asyncio.get_running_loop(), keepalive_timeout=75)


def brief_handler(server: web.Server) -> web.RequestHandler:
    return web.RequestHandler(server, loop=asyncio.get_running_loop(), keepalive_timeout=0.05)


def holding_handler(server: web.Server) -> web.RequestHandler:
    return seam.HoldingHandler(server, loop=asyncio.get_running_loop(), keepalive_timeout=75)


async def test_a_connection_is_idle_before_its_first_request_and_behind_each_answer() -> None:
    gate = Gate()
    async with connected(handler, gate) as (peer, protocol):
        await until(lambda: seam.is_idle(protocol))
        for _ in range(2):
            gate.may_answer.clear()
            await peer.send(GET)
            await until(lambda: gate.waiting)
            assert not seam.is_idle(protocol)
            gate.may_answer.set()
            await peer.until(b"answered")
            await until(lambda: seam.is_idle(protocol))


async def test_a_connection_is_not_idle_while_a_request_waits_behind_another() -> None:
    gate = Gate()
    async with connected(handler, gate) as (peer, protocol):
        await peer.send(GET + GET)
        await until(lambda: gate.entered == 1)
        assert seam.requests_found(protocol) == 2
        assert not seam.is_idle(protocol)
        gate.may_answer.set()
        await until(lambda: gate.entered == 2)
        await until(lambda: seam.is_idle(protocol))


async def test_a_connection_is_not_idle_before_the_body_of_an_answered_request_has_come() -> None:
    gate = Gate()
    gate_opened = gate.may_answer
    async with connected(handler, gate) as (peer, protocol):
        gate_opened.set()
        await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
        await peer.until(b"answered")
        for _ in range(20):
            await asyncio.sleep(0)
            assert not seam.is_idle(protocol)
        await peer.send(b"llo")
        await until(lambda: seam.is_idle(protocol))


async def test_a_connection_is_idle_with_a_part_of_a_request_in_its_parser_so_that_a_boundary_is_kept() -> None:
    async with connected(handler, reads_its_body) as (peer, protocol):
        await peer.send(GET[:10])
        await asyncio.sleep(0.01)
        assert seam.is_idle(protocol)
        assert seam.requests_found(protocol) == 0


async def test_the_first_byte_of_data_ends_the_idle_state_in_the_same_call() -> None:
    async with connected(handler, reads_its_body) as (_, protocol):
        await until(lambda: seam.is_idle(protocol))
        protocol.data_received(GET)
        assert not seam.is_idle(protocol)


async def test_the_transport_is_not_read_while_bytes_are_held_and_then_it_is() -> None:
    async with connected(holding_handler, reads_its_body) as (peer, protocol):
        assert isinstance(protocol, seam.HoldingHandler)
        assert protocol.transport is not None
        protocol.held = b"x"
        protocol.transport.pause_reading()
        seam.resume_reading(protocol)
        await peer.send(GET)
        await asyncio.sleep(0.01)
        assert seam.requests_found(protocol) == 0
        protocol.held = b""
        seam.resume_reading(protocol)
        await until(lambda: seam.requests_found(protocol) == 1)


def small_handler(server: web.Server) -> web.RequestHandler:
    return web.RequestHandler(server, loop=asyncio.get_running_loop(), keepalive_timeout=75, read_bufsize=1600)


async def test_a_body_that_nobody_reads_is_enough_from_a_number_of_chunks_on() -> None:
    gate = Gate()
    async with connected(small_handler, gate) as (peer, protocol):
        await peer.send(CHUNKED)
        await until(lambda: gate.waiting)
        assert not seam.has_enough(protocol)
        await peer.send(b"1\r\na\r\n" * 101)  # a sixteenth of the size of the buffer, and one more
        await until(lambda: seam.has_enough(protocol))


async def test_broken_requests_are_counted_among_those_found() -> None:
    async with connected(handler, reads_its_body) as (peer, protocol):
        await peer.send(GET)
        await peer.until(b"\r\n\r\n")
        await peer.send(BROKEN)
        assert b"400" in await peer.rest()
        assert seam.requests_found(protocol) == 2


async def test_a_body_whose_framing_breaks_is_an_error_that_waits_behind_its_request() -> None:
    gate = Gate()
    async with connected(handler, gate) as (peer, protocol):
        await peer.send(CHUNKED)
        await until(lambda: gate.entered == 1)
        assert not seam.has_found_broken_bytes(protocol)
        await peer.send(b"not a size\r\n")
        await until(lambda: seam.has_found_broken_bytes(protocol))
        gate.may_answer.set()


async def test_a_request_that_waits_is_no_error() -> None:
    gate = Gate()
    async with connected(handler, gate) as (peer, protocol):
        await peer.send(GET + GET)
        await until(lambda: seam.requests_found(protocol) == 2)
        assert not seam.has_found_broken_bytes(protocol)
        gate.may_answer.set()


@pytest.mark.parametrize("close", [web.RequestHandler.close, web.RequestHandler.force_close])
async def test_a_connection_is_closing_as_soon_as_either_way_of_closing_is_called(
    close: Callable[[web.RequestHandler], None],
) -> None:
    async with connected(handler, reads_its_body) as (_, protocol):
        await until(lambda: seam.is_idle(protocol))
        assert not seam.is_closing(protocol)
        close(protocol)
        assert seam.is_closing(protocol)
        assert not seam.is_idle(protocol)


async def test_what_waits_for_the_rest_of_a_body_that_nobody_reads_ends_when_it_is_told() -> None:
    gate = Gate()
    gate.may_answer.set()
    async with connected(handler, gate) as (peer, protocol):
        before = asyncio.all_tasks()
        await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
        await peer.until(b"answered")
        seam.end_lingering(protocol)
        await until(lambda: asyncio.all_tasks() < before)
        assert seam.is_closing(protocol)


async def test_an_answer_under_way_is_not_ended_with_the_wait_for_a_body() -> None:
    gate = Gate()
    async with connected(handler, gate) as (peer, protocol):
        await peer.send(GET)
        await until(lambda: gate.waiting)
        seam.end_lingering(protocol)
        gate.may_answer.set()
        assert b"answered" in await peer.until(b"answered")


async def test_the_keepalive_timer_closes_a_connection_that_stays_idle() -> None:
    async with connected(brief_handler, reads_its_body) as (peer, protocol):
        protocol.keep_alive(True)  # stops the timer of the connection's beginning
        seam.start_keepalive_timer(protocol)
        assert await peer.rest() == b""


async def test_keep_alive_stops_the_keepalive_timer() -> None:
    async with connected(brief_handler, reads_its_body) as (peer, protocol):
        protocol.keep_alive(True)  # stops the timer of the connection's beginning
        seam.start_keepalive_timer(protocol)
        protocol.keep_alive(True)
        await asyncio.sleep(0.1)
        await peer.send(GET)
        assert b"200 OK" in await peer.until(b"\r\n\r\n")


async def test_the_keepalive_timer_leaves_a_request_alone_that_is_served() -> None:
    gate = Gate()
    async with connected(brief_handler, gate) as (peer, protocol):
        seam.start_keepalive_timer(protocol)
        await peer.send(GET)
        await asyncio.sleep(0.1)
        gate.may_answer.set()
        assert b"answered" in await peer.until(b"answered")


class WithoutTask(web.RequestHandler):
    """A connection that begins without aiohttp's task."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        seam.connect(self, transport)


def without_task(server: web.Server) -> WithoutTask:
    return WithoutTask(server, loop=asyncio.get_running_loop(), keepalive_timeout=0.05)


async def test_a_connection_without_a_task_has_none_until_it_begins_and_then_answers() -> None:
    before = len(asyncio.all_tasks())
    async with connected(without_task, reads_its_body) as (peer, protocol):
        assert len(asyncio.all_tasks()) == before
        assert not seam.is_idle(protocol)
        for _ in range(2):
            seam.begin(protocol)
            assert len(asyncio.all_tasks()) == before + 1
        protocol.data_received(GET)
        assert b"200 OK" in await peer.until(b"\r\n\r\n")
        await until(lambda: seam.is_idle(protocol))
        assert await peer.rest() == b""  # the keep-alive time holds for aiohttp, too


async def test_a_connection_without_a_task_is_closed_after_the_keepalive_time() -> None:
    async with connected(without_task, reads_its_body) as (peer, protocol):
        assert await peer.rest() == b""
        assert seam.is_closing(protocol)


async def test_a_connection_without_a_task_is_closed_when_its_server_shuts_down() -> None:
    async with connected(lambda server: WithoutTask(server, loop=asyncio.get_running_loop()), reads_its_body) as (
        peer,
        protocol,
    ):
        await protocol.shutdown(0.1)
        assert await peer.rest() == b""


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/2",
        b"GET / HTTP/3.0",
        b"GET / HTTP/1.2",
        b"PRI * HTTP/2.0",
        b"PRI * HTTP/2.0\r\n\r\nSM",
    ],
)
async def test_an_error_of_the_parser_about_a_version_is_known(line: bytes) -> None:
    messages = await parser_messages(line)
    assert [seam.is_about_version(message) for message in messages] == [True]


@pytest.mark.parametrize(
    "line",
    [b"nonsense", b"GET / HTTP/1.1\r\nHost : a", b"GET / FTP/1.1", b"GET / HTTP/1.1\r\nX: Invalid HTTP version"],
)
async def test_any_other_error_of_the_parser_is_not_about_a_version(line: bytes) -> None:
    assert [message for message in await parser_messages(line) if seam.is_about_version(message)] == []


async def parser_messages(line: bytes) -> list[str]:
    """What aiohttp's parser says of a request that begins with this line."""
    messages: list[str] = []

    class Protocol(web.RequestHandler):
        def handle_error(self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None,
                         message: str | None = None) -> web.StreamResponse:  # fmt: skip
            messages.append(message or "")
            return web.Response(status=400)

    def build(server: web.Server) -> Protocol:
        return Protocol(server, loop=asyncio.get_running_loop())

    async with connected(build, reads_its_body) as (peer, _):
        await peer.send(line + b"\r\nHost: a\r\n\r\n")
        await peer.until(b"\r\n\r\n")
    return messages


async def test_an_answer_says_http11_whatever_the_request_has_said() -> None:
    async def refuse(request: web.BaseRequest) -> web.Response:
        assert request.version != (1, 1)
        seam.answer_as_http11(request)
        return web.Response(status=505)

    async with connected(handler, refuse) as (peer, _):
        await peer.send(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n")
        assert (await peer.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 505 ")


# --- public members whose meaning the gateway relies on beyond what is documented


async def test_the_parser_may_be_fed_in_the_call_that_resumes_reading() -> None:
    """`data_received` without bytes lets the parser go on; the connection must pass it on."""
    async with connected(handler, reads_its_body) as (peer, protocol):
        protocol.data_received(b"")
        await peer.send(GET)
        await peer.until(b"\r\n\r\n")


async def test_a_large_body_is_read_whole_through_pauses_of_its_parser() -> None:
    async with connected(handler, reads_its_body) as (peer, _):
        size = 700_000  # many times the limit of aiohttp's buffer, and below its limit of a body
        await peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        body = asyncio.create_task(peer.send(b"x" * (size - 1) + b"y"))
        assert (await peer.until(b"xy")).endswith(b"xy")
        await body


async def test_a_body_that_is_given_an_exception_raises_it_where_it_is_read() -> None:
    seen: list[StreamReader] = []

    async def reads(request: web.BaseRequest) -> web.Response:
        seen.append(request.content)
        try:
            await request.read()
        except web.RequestPayloadError:
            request.content.feed_eof()
            return web.Response(text="broken")
        return web.Response()

    async with connected(handler, reads) as (peer, _):
        await peer.send(CHUNKED)
        await until(lambda: seen)
        seen[0].set_exception(web.RequestPayloadError("the framing is broken"))
        assert b"broken" in await peer.until(b"broken")


# --- nowhere else

SOURCES = [
    base_protocol, http_writer, streams, web_app, web_protocol, web_request, web_response, web_runner, web_server,
]  # fmt: skip
PRIVATE = {
    node.attr
    for module in SOURCES
    for node in ast.walk(ast.parse(inspect.getsource(module)))
    if isinstance(node, ast.Attribute) and re.fullmatch(r"_[a-z]\w*", node.attr)
}
OF_AIOHTTP = {"RequestHandler", "HoldingHandler", "StreamResponse", "Response"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        if path.name != "aiohttp_seam.py":
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_bytes())


def imports_aiohttp(tree: ast.Module) -> bool:
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    return any("aiohttp" in ast.unparse(node) for node in imports)


def names_of_bases(node: ast.ClassDef) -> set[str]:
    return {ast.unparse(base).rpartition(".")[2] for base in node.bases}


def private_reads(tree: ast.AST, *, of_self: bool) -> set[str]:
    """The private members of aiohttp that are read from `self`, or from anything else."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in PRIVATE
        and (isinstance(node.value, ast.Name) and node.value.id == "self") == of_self
    }


def test_there_are_private_members_to_look_for() -> None:
    assert {"_waiter", "_messages", "_request_count", "_close", "_force_close", "_keepalive_handle"} <= PRIVATE


def test_no_module_but_the_seam_reads_a_private_member_of_another_object_of_aiohttp() -> None:
    importing = {name: private_reads(tree, of_self=False) for name, tree in modules() if imports_aiohttp(tree)}
    assert importing.keys() >= {"http/client_connection.py", "http/takeover.py", "http/body.py"}
    assert {name: found for name, found in importing.items() if found} == {}


def test_no_class_that_extends_one_of_aiohttp_uses_a_private_member_of_it() -> None:
    classes = {
        node.name: private_reads(node, of_self=True)
        for _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and OF_AIOHTTP & names_of_bases(node)
    }
    assert classes.keys() == {"ClientProtocol", "FinishedResponse"}
    assert {name: found for name, found in classes.items() if found} == {}


def test_the_version_of_aiohttp_that_passes_here_is_one_that_the_package_admits() -> None:
    project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())["project"]
    (bound,) = [line for line in project["dependencies"] if re.match(r"aiohttp\b", line)]
    lowest, beyond = re.fullmatch(r"aiohttp>=(\d+\.\d+),<(\d+\.\d+)", bound).groups()  # type: ignore[union-attr]
    installed = tuple(map(int, importlib.metadata.version("aiohttp").split(".")[:2]))
    assert tuple(map(int, lowest.split("."))) <= installed < tuple(map(int, beyond.split(".")))
