"""Shell: the kernel's acknowledgement of what an upstream has sent (RFC 9293 section 3.8.6.3; tcp(7), TCP_QUICKACK).

In: the socket whose bytes are to be acknowledged. Out: a socket option, nothing else. On a connection whose last
answer ended a moment ago, Linux delays an acknowledgement by 40 ms, hoping to send it along with data. Until
then, an upstream that does not set TCP_NODELAY keeps its next bytes back, and the first token may be among them.
"""

import contextlib
import socket

from gateway.borrowed_socket import BorrowedSocket

_QUICKACK = getattr(socket, "TCP_QUICKACK", None)  # Linux has it; elsewhere nothing is done


def acknowledge(upstream: BorrowedSocket) -> None:
    """Acknowledge at once what has come and what comes next, until this side sends something."""
    if _QUICKACK is None or upstream.family not in (socket.AF_INET, socket.AF_INET6):
        return
    # uvloop's own socket object would duplicate the descriptor for every call.
    if (direct := upstream.take()) is not None:
        with contextlib.suppress(OSError):  # the connection is gone, which its transport reports
            direct.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
