"""Shell: serves the dashboard at `GET /dashboard`. Its files are public; the data that they show may need a token."""

from functools import cache
from pathlib import Path

import orjson
from aiohttp import web

from gateway.endings import Ending
from gateway.errors import NotFound

FOLDER = Path(__file__).parent
PAGE = "index.html"
ENDINGS = "endings.js"  # a script that is generated from gateway/endings.py
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


async def get_page(request: web.Request) -> web.Response:
    return _served(PAGE)


async def get_root(request: web.Request) -> web.Response:
    """The way from `/` to the page.

    The `Location` is relative, so that it also leads there behind a proxy that serves the gateway below a path.
    """
    return web.Response(status=302, headers={"Location": "dashboard", "Cache-Control": "no-cache"})


async def get_file(request: web.Request) -> web.Response:
    """A script or the styles of the page."""
    name = request.match_info["name"]
    if name not in _contents() or name == PAGE:
        raise NotFound(f"there is nothing at {request.method} {request.path[:200]}")
    return _served(name)


def _served(name: str) -> web.Response:
    content_type = TYPES[Path(name).suffix]
    return web.Response(body=_contents()[name], content_type=content_type, charset="utf-8", headers=HEADERS)


@cache
def _contents() -> dict[str, bytes]:
    """The contents of the files by their names, read once; so no request can name a path outside of the folder."""
    files = {file.name: file.read_bytes() for file in FOLDER.iterdir() if file.suffix in TYPES}
    return {**files, ENDINGS: _endings()}


def _endings() -> bytes:
    """The script that gives the page the CSS class of each ending: `good`, `bad` or `wait`."""
    kinds = {ending.value: "bad" if ending.is_fault else "wait" for ending in Ending}
    kinds[Ending.COMPLETED.value] = "good"
    return b"export const KINDS = " + orjson.dumps(kinds) + b";\n"
