"""Shell: serves `GET /client.js`, the script by which pages subscribe. It is public; what it asks for is not."""

from functools import cache
from pathlib import Path

from aiohttp import web

# A page of another origin may load a script as a module only if this header says so.
HEADERS = {"Access-Control-Allow-Origin": "*", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}


async def get_client(request: web.Request) -> web.Response:
    """The script, as it stands in its file."""
    return web.Response(body=_content(), content_type="text/javascript", charset="utf-8", headers=HEADERS)


@cache
def _content() -> bytes:
    return (Path(__file__).parent / "client.js").read_bytes()
