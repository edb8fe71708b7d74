"""Shell: when the kernel acknowledges what an upstream has sent (RFC 9293 section 3.8.6.3; tcp(7), TCP_QUICKACK).

Left alone, Linux guesses, and is wrong in both directions. On a connection whose last answer ended a moment ago it
holds the acknowledgement of the next one's beginning for 40 ms, and an upstream that does not set TCP_NODELAY keeps
the first token back for as long. And while tokens flow it sends one for each, a tenth of what a token costs.
"""

import asyncio
import contextlib
import socket

_QUICKACK = getattr(socket, "TCP_QUICKACK", None)  # Linux has it; elsewhere nothing is done


def at_once(transport: asyncio.BaseTransport) -> None:
    """Acknowledge what has come, and what comes next, without waiting for more; until something is sent."""
    _set(transport, 1)


def sparingly(transport: asyncio.BaseTransport) -> None:
    """Acknowledge every second piece, or one after 40 ms, whereupon the kernel returns to its own ways."""
    _set(transport, 0)


def _set(transport: asyncio.BaseTransport, quick: int) -> None:
    shared = transport.get_extra_info("socket")
    if _QUICKACK is None or shared is None or shared.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with contextlib.suppress(OSError):  # the connection is gone, as others will say
        # uvloop's stand-in for a socket would make a duplicate for this.
        borrowed = socket.socket(shared.family, shared.type, shared.proto, fileno=shared.fileno())
        try:
            borrowed.setsockopt(socket.IPPROTO_TCP, _QUICKACK, quick)
        finally:
            borrowed.detach()
