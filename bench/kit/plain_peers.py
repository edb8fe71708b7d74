"""Shell: the peers that one writes in an afternoon with aiohttp, idiomatic: a proxy, and a queue per subscriber.

    python -m bench.kit.plain_peers proxy PORT UPSTREAM_PORT [uvloop]
    python -m bench.kit.plain_peers queues PORT

The proxy writes the upstream's answer to any POST as it arrives, on asyncio's own loop, as aiohttp comes, or on
uvloop. The queues, on uvloop, take server-sent events by one long POST /pub and bring them to everybody on GET /sub.
"""

import asyncio
import sys
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web

UPSTREAM = web.AppKey("upstream", str)
SESSION = web.AppKey("session", aiohttp.ClientSession)
QUEUES = web.AppKey("queues", set[asyncio.Queue[bytes]])


async def session(app: web.Application) -> AsyncIterator[None]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(None)) as opened:
        app[SESSION] = opened
        yield


async def relay(request: web.Request) -> web.StreamResponse:
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


async def subscribe(request: web.Request) -> web.StreamResponse:
    queues, queue = request.app[QUEUES], asyncio.Queue[bytes]()
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    queues.add(queue)
    try:
        await response.prepare(request)
        while True:
            await response.write(await queue.get())
    finally:
        queues.discard(queue)


async def publish(request: web.Request) -> web.Response:
    while not request.content.at_eof():
        event = await request.content.readuntil(b"\n\n")
        for queue in request.app[QUEUES]:
            queue.put_nowait(event)
    return web.Response(status=204)


def main(kind: str, port: str, upstream_port: str = "", loop: str = "") -> None:
    app = web.Application()
    if kind == "proxy":
        app[UPSTREAM] = f"http://127.0.0.1:{upstream_port}"
        app.cleanup_ctx.append(session)
        app.router.add_post("/{path:.*}", relay)
    else:
        app[QUEUES] = set()
        app.add_routes([web.get("/sub", subscribe), web.post("/pub", publish)])
    new_loop = uvloop.new_event_loop() if loop or kind == "queues" else asyncio.new_event_loop()
    web.run_app(
        app, host="127.0.0.1", port=int(port), backlog=4096, access_log=None, handle_signals=False, loop=new_loop
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
