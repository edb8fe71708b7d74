"""Shell: the peer "aiohttp": the fan-out one writes in an afternoon, a queue per subscriber, under uvloop.

In: one long POST /pub whose body is server-sent events. Out: the same events to everybody on GET /sub. Run by
`bench.fanout_peers`: `python -m bench.queue_fanout PORT`.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import web

QUEUES = web.AppKey("queues", set[asyncio.Queue[bytes]])


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
    queues = request.app[QUEUES]
    while not request.content.at_eof():
        event = await request.content.readuntil(b"\n\n")
        for queue in queues:
            queue.put_nowait(event)
    return web.Response(status=204)


async def serve(port: int) -> None:
    app = web.Application()
    app[QUEUES] = set()
    app.router.add_get("/sub", subscribe)
    app.router.add_post("/pub", publish)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
