"""Shell: the listeners of a gateway: where clients connect, opened and closed.

In: `server.listen`, or sockets that were handed over. Out: connections, each with a protocol of its own. The
invariant: without any API key nobody but this machine can connect.
"""

import asyncio
import os
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.config import Listen, ServerSettings
from gateway.errors import ConfigError
from gateway.http.client_socket import set_options
from gateway.run import certificate

BACKLOG = 4096  # a burst of subscribers must not meet a full accept queue; the kernel caps it at somaxconn

BuildProtocol = Callable[[], asyncio.Protocol]


class Listeners:
    """The sockets on which one gateway accepts connections."""

    def __init__(self, server: ServerSettings, handed_over: Sequence[socket.socket] = ()) -> None:
        """`handed_over`: listening sockets, which win over `server.listen`."""
        self._server = server
        self._handed_over = list(handed_over)
        self._open: list[asyncio.Server] = []
        self._tls: ssl.SSLContext | None = None

    @property
    def port(self) -> int:
        """The port that is listened on, also if the configuration left it to the kernel (0)."""
        for server in self._open:
            for listener in server.sockets:
                if listener.family in (socket.AF_INET, socket.AF_INET6):
                    return int(listener.getsockname()[1])
        raise RuntimeError("not listening on a port")

    @property
    def address(self) -> str:
        """Where clients connect, as in the configuration but with the true port."""
        listen = self._server.listen
        if self._handed_over:
            return ", ".join(str(_listen_of(listener)) for listener in self._handed_over)
        if listen.path is not None:
            return str(listen)
        return str(listen).rpartition(":")[0] + f":{self.port}"

    @property
    def passes_options_on(self) -> bool:
        """Whether every connection has the socket options of `set_options` from its listening socket (tcp(7)).

        Not on sockets that were handed over: clients may have connected before the options were set.
        """
        return sys.platform == "linux" and not self._handed_over

    def check_loopback(self) -> None:
        """Make sure that only this machine can connect; raises `ConfigError` if others could."""
        for listen in [_listen_of(listener) for listener in self._handed_over] or [self._server.listen]:
            if not listen.is_loopback:
                advice = "make one with `rivergate keys create --name NAME`, or listen on 127.0.0.1"
                raise ConfigError(
                    [f"server.listen: {listen} is open to the network, and there is no API key: {advice}"]
                )

    async def open(self, build: BuildProtocol) -> None:
        """Accept connections from now on. Raises `ConfigError` if the gateway cannot listen there."""
        self._tls = certificate.load(self._server)
        try:
            self._open = await self._listen(build)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigError([f"server.listen: cannot listen on {self._server.listen}: {reason}"]) from None

    def renew_certificate(self, server: ServerSettings) -> None:
        """Read the certificate again, unless `server` names another file, which needs a restart.

        Raises `ConfigError`.
        """
        if self._tls is not None and server.tls_cert_file == self._server.tls_cert_file:
            certificate.renew(self._tls, self._server)

    def close(self) -> None:
        """Accept no more. Sockets that were handed over stay open at the manager: clients wait there."""
        for server in self._open:
            server.close()

    def remove_socket_file(self) -> None:
        """Remove the file of a Unix socket, after `close`."""
        if self._server.listen.path is not None and not self._handed_over:
            _remove_stale_socket(self._server.listen.path)

    async def _listen(self, build: BuildProtocol) -> list[asyncio.Server]:
        loop, listen, tls = asyncio.get_running_loop(), self._server.listen, self._tls
        if self._handed_over:
            return [
                await (loop.create_unix_server if listener.family == socket.AF_UNIX else loop.create_server)(
                    build, sock=listener, backlog=BACKLOG, ssl=tls
                )
                for listener in self._handed_over
            ]
        if listen.path is not None:
            _remove_stale_socket(listen.path)
            server: asyncio.Server = await loop.create_unix_server(
                build, listen.path, backlog=BACKLOG, ssl=tls, start_serving=False
            )
        else:
            server = await loop.create_server(
                build, listen.host or None, listen.port, backlog=BACKLOG, ssl=tls, start_serving=False
            )
        try:
            for listener in server.sockets:
                set_options(listener)
            await server.start_serving()
        except BaseException:
            server.close()
            raise
        return [server]


def _listen_of(listener: socket.socket) -> Listen:
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return Listen("", 0, os.fsdecode(name).replace("\0", "@", 1))  # an abstract name, as systemd writes it
    return Listen(str(name[0]), int(name[1]))


def _remove_stale_socket(path: str) -> None:
    """Remove a socket that a crash left behind; anything else at that path stays and makes the bind fail."""
    if os.path.exists(path) and Path(path).is_socket():
        os.unlink(path)
