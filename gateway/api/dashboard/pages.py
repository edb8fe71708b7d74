"""Shell: `GET /dashboard`: the live page and its two files. They are public; what they show needs a token."""

from functools import cache
from pathlib import Path

from aiohttp import web

FOLDER = Path(__file__).parent
PAGE = "index.html"
TYPES = {PAGE: "text/html", "dashboard.js": "text/javascript", "dashboard.css": "text/css"}
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


async def get_script(request: web.Request) -> web.Response:
    return _served("dashboard.js")


async def get_styles(request: web.Request) -> web.Response:
    return _served("dashboard.css")


def _served(name: str) -> web.Response:
    return web.Response(body=_content(name), content_type=TYPES[name], charset="utf-8", headers=HEADERS)


@cache
def _content(name: str) -> bytes:
    return (FOLDER / name).read_bytes()
