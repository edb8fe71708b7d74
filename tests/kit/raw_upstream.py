"""An upstream that answers with whatever bytes a test gives it: what the simulated provider would never send."""

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable


class RawUpstream:
    """Answers each connection once and closes it; `answer` makes the bytes of the request's bytes."""

    def __init__(
        self, answer: Callable[[bytes], bytes], name: str = "raw", tls: ssl.SSLContext | None = None
    ) -> None:
        self.name = name
        self._tls = tls
        self.requests: list[bytes] = []
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        origin = "http://127.0.0.1" if tls is None else "https://localhost"
        self.base_url = f"{origin}:{self._listening.getsockname()[1]}/v1"
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._thread.join()
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), client, self._secured(client) as secured:
                self.requests.append(read_request(secured))
                secured.sendall(self._answer(self.requests[-1]))

    def _secured(self, client: socket.socket) -> socket.socket:
        return client if self._tls is None else self._tls.wrap_socket(client, server_side=True)


def read_request(client: socket.socket) -> bytes:
    """One request, head and body; less if the client hangs up."""
    request = bytearray()
    size: int | None = None
    while data := client.recv(1 << 18):
        request += data
        if size is None and (end := request.find(b"\r\n\r\n")) >= 0:
            length = re.search(rb"content-length: (\d+)", request[:end].lower())
            size = end + 4 + (int(length[1]) if length else 0)
        if size is not None and len(request) >= size:
            break
    return bytes(request)


def json_answer(status: int, content: bytes) -> bytes:
    """A whole response with this body."""
    head = f"HTTP/1.1 {status} Told\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content
