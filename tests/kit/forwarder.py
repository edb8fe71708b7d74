"""A TCP forwarder between a client and a gateway, which can cut connections and remembers the request heads."""

import contextlib
import socket
import threading


class Forwarder:
    """Listens on a port of its own; each connection is two threads that copy bytes."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._carried: list[socket.socket] = []
        self._asked: list[bytes] = []
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._accept, name="forwarder", daemon=True).start()

    def asked(self, path: str) -> list[str]:
        """The request heads for this path so far."""
        heads = b"".join(list(self._asked)).decode("latin-1").split("\r\n\r\n")
        return [head for head in heads if head.startswith(f"GET {path} ")]

    def cut(self) -> None:
        """Close every connection that is open now, in both directions."""
        carried, self._carried = self._carried, []
        for connection in carried:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._carried += [client, server]
            threading.Thread(target=self._carry, args=(client, server), daemon=True).start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        back = threading.Thread(target=self._copy, args=(server, client, []), daemon=True)
        back.start()
        self._copy(client, server, self._asked)
        back.join()
        client.close()
        server.close()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket, seen: list[bytes]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                seen.append(data)
                sink.sendall(data)
        for connection in (source, sink):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
