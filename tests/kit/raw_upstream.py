"""An upstream that answers with whatever bytes a test gives it: what the simulated provider would never send."""

import contextlib
import socket
import threading
from collections.abc import Callable


class RawUpstream:
    """Answers each connection once and closes it; `answer` makes the bytes of the request's bytes."""

    def __init__(self, answer: Callable[[bytes], bytes], name: str = "raw") -> None:
        self.name = name
        self.requests: list[bytes] = []
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1"
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
            with client, contextlib.suppress(OSError):
                self.requests.append(client.recv(65536))
                client.sendall(self._answer(self.requests[-1]))


def json_answer(status: int, content: bytes) -> bytes:
    """A whole response with this body."""
    head = f"HTTP/1.1 {status} Told\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content
