"""Shell: the options of a client's socket."""

import socket
from asyncio.trsock import TransportSocket

# How many bytes for one client may wait in the kernel unsent. A client that reads nothing takes 3,900 KiB of the
# kernel's memory before the gateway notices; with this limit it takes 200 KiB. Replays and tokens are no slower
# (bench/README.md).
MAX_UNSENT_IN_KERNEL = 65536


def set_options(connected: socket.socket | TransportSocket | None) -> None:
    """Set the options of a client's socket. On Linux a connection inherits those of its listening socket (tcp(7))."""
    if connected is None:
        return
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if connected.family in (socket.AF_INET, socket.AF_INET6):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT_IN_KERNEL)
