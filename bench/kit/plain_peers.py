"""Shell: the peers that one writes in an afternoon with aiohttp, idiomatic: a proxy, and a queue per subscriber.

    python -m bench.kit.plain_peers proxy|queues LOOP PORT [UPSTREAM_PORT]

The proxy writes the upstream's answer to any POST as it arrives. The queues take server-sent events by one long
POST /pub and bring them to everybody on GET /sub. LOOP is `asyncio`, as aiohttp comes, or `uvloop`.
"""

import asyncio
import importlib
import sys

import aiohttp
from aiohttp import web


async def proxy(upstream_port: str) -> list[web.RouteDef]:
    connector = aiohttp.TCPConnector(limit=0)
    session = aiohttp.ClientSession(f"http://127.0.0.1:{upstream_port}", connector=connector, timeout=None)

    async def relay(request: web.Request) -> web.StreamResponse:
        headers = {"Content-Type": request.content_type, "Accept": "text/event-stream"}
        async with session.post(request.path, data=await request.read(), headers=headers) as answer:
            response = web.StreamResponse(status=answer.status)
            response.content_type = answer.content_type
            await response.prepare(request)
            async for data in answer.content.iter_any():
                await response.write(data)
            await response.write_eof()
            return response

    return [web.post("/{path:.*}", relay)]


async def queues() -> list[web.RouteDef]:
    everybody = set[asyncio.Queue[bytes]]()

    async def subscribe(request: web.Request) -> web.StreamResponse:
        queue = asyncio.Queue[bytes]()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        everybody.add(queue)
        try:
            await response.prepare(request)
            while True:
                await response.write(await queue.get())
        finally:
            everybody.discard(queue)

    async def publish(request: web.Request) -> web.Response:
        while not request.content.at_eof():
            event = await request.content.readuntil(b"\n\n")
            for queue in everybody:
                queue.put_nowait(event)
        return web.Response(status=204)

    return [web.get("/sub", subscribe), web.post("/pub", publish)]


async def application(kind: str, *upstream_port: str) -> web.Application:
    (app := web.Application()).add_routes(await (proxy(*upstream_port) if kind == "proxy" else queues()))
    return app


if __name__ == "__main__":
    _, kind, loop, port, *more = sys.argv
    served, new_loop = application(kind, *more), importlib.import_module(loop).new_event_loop()
    web.run_app(served, host="127.0.0.1", port=int(port), backlog=4096, access_log=None, loop=new_loop)
