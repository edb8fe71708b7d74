"""A TCP forwarder that cuts the first connection of each client after as many bytes of the answer as its URL says."""

import contextlib
import re
import select
import socket
import threading

_NAMED = re.compile(rb"[?&](client=[\w.-]+&cut=(\d+))")


class CuttingForwarder:
    """Listens on a port of its own. A URL with `client=NAME&cut=BYTES` is cut once; any other is carried as it is."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._known: set[bytes] = set()
        self._open = True
        self.cuts = 0
        self.requests: list[str] = []  # the heads
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._accept, name="cutting forwarder", daemon=True).start()

    def close(self) -> None:
        self._open = False
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name="cutting forwarder", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(self._target) as server:
            head = b""
            while b"\r\n\r\n" not in head:
                if not (data := client.recv(65536)):
                    return
                head += data
            self.requests.append(head.decode("latin-1"))
            found = _NAMED.search(head)
            left = -1  # to be carried whole
            if found is not None and found[1] not in self._known:
                self._known.add(found[1])
                left = int(found[2])
            server.sendall(head)
            self._carry(client, server, left)

    def _carry(self, client: socket.socket, server: socket.socket, left: int) -> None:
        while self._open and left != 0:
            ready, _, _ = select.select([client, server], [], [], 1.0)
            for source in ready:
                data = source.recv(65536)
                if not data:
                    return
                if source is client:
                    server.sendall(data)
                    continue
                data = data[:left] if left > 0 else data
                client.sendall(data)
                left -= len(data) if left > 0 else 0
        self.cuts += left == 0
