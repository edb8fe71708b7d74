"""Shell: the peers that one writes in an afternoon with aiohttp, idiomatic: a proxy, and a queue per subscriber.

    python -m bench.kit.plain_peers proxy PORT UPSTREAM_URL [uvloop]
    python -m bench.kit.plain_peers queues PORT

The proxy writes the upstream's answer to any POST as it arrives, on asyncio's own loop, as aiohttp comes, or on
uvloop. The queues, on uvloop, take server-sent events by one long POST /pub and bring them to everybody on GET /sub.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web

UPSTREAM = web.AppKey("upstream", str)
SESSION = web.AppKey("session", aiohttp.ClientSession)
QUEUES = web.AppKey("queues", set[asyncio.Queue[bytes]])


def proxy(upstream: str) -> web.Application:
    app = web.Application()
    app[UPSTREAM] = upstream
    app.cleanup_ctx.append(_session)
    app.router.add_post("/{path:.*}", _relay)
    return app


async def _session(app: web.Application) -> AsyncIterator[None]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(None)) as session:
        app[SESSION] = session
        yield


async def _relay(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    headers = {"Content-Type": request.content_type, "Accept": "text/event-stream"}
    url = request.app[UPSTREAM] + request.path
    async with request.app[SESSION].post(url, data=body, headers=headers) as answer:
        response = web.StreamResponse(status=answer.status)
        response.content_type = answer.content_type
        await response.prepare(request)
        async for data in answer.content.iter_any():
            await response.write(data)
        await response.write_eof()
        return response


def queues() -> web.Application:
    app = web.Application()
    app[QUEUES] = set()
    app.router.add_get("/sub", _subscribe)
    app.router.add_post("/pub", _publish)
    return app


async def _subscribe(request: web.Request) -> web.StreamResponse:
    queues, queue = request.app[QUEUES], asyncio.Queue[bytes]()
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    queues.add(queue)
    try:
        await response.prepare(request)
        while True:
            await response.write(await queue.get())
    finally:
        queues.discard(queue)


async def _publish(request: web.Request) -> web.Response:
    queues = request.app[QUEUES]
    while not request.content.at_eof():
        event = await request.content.readuntil(b"\n\n")
        for queue in queues:
            queue.put_nowait(event)
    return web.Response(status=204)


async def serve(app: web.Application, port: int) -> None:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    kind, port, *rest = sys.argv[1:]
    run = uvloop.run if kind == "queues" or "uvloop" in rest else asyncio.run
    run(serve(queues() if kind == "queues" else proxy(rest[0]), int(port)))
