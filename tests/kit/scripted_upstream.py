"""An upstream that plays a script of bytes and pauses, and remembers the requests that it was sent."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable

from .raw_upstream import read_request

Step = bytes | float  # bytes to send, or seconds to wait
Script = Callable[[bytes], Iterable[Step]]


class ScriptedUpstream:
    """Answers each connection once, in a thread of its own, as `script` says, and closes it."""

    def __init__(self, name: str, script: Script | None = None) -> None:
        self.name = name
        self.requests: list[bytes] = []
        self.script: Script = script or good
        self._closed = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.base_url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1"
        self._threads = [threading.Thread(target=self._accept, name=name, daemon=True)]
        self._threads[0].start()

    def play(self, script: Script) -> None:
        """Play this script from now on, and forget the requests so far."""
        self.requests.clear()
        self.script = script

    def close(self) -> None:
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread
        for thread in self._threads:
            thread.join()
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,), name=self.name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            request = read_request(client)
            self.requests.append(request)
            for step in self.script(request):
                if isinstance(step, bytes):
                    client.sendall(step)
                elif self._closed.wait(step):
                    return


def is_streamed(request: bytes) -> bool:
    """Whether a request asks for a stream."""
    return b'"stream":true' in request.replace(b" ", b"")


def response(status: int, content: bytes, kind: str = "application/json", **fields: str) -> bytes:
    """A whole response with this body."""
    lines = {"Content-Type": kind, "Content-Length": str(len(content)), "Connection": "close", **fields}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"HTTP/1.1 {status} Told\r\n{head}\r\n".encode() + content


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
_CHUNK = '{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[%s]}'


def event(delta: str, finish: str = "null") -> bytes:
    """An event of a stream, whose only choice has this delta as JSON."""
    return b"data: " + (_CHUNK % f'{{"index":0,"delta":{delta},"finish_reason":{finish}}}').encode() + b"\n\n"


ROLE = event('{"role":"assistant","content":""}')
FINISH = event("{}", '"stop"')
DONE = b"data: [DONE]\n\n"
GOOD_TEXT = "A good answer."
GOOD = b"".join([STREAM_HEAD, ROLE, event(f'{{"content":"{GOOD_TEXT}"}}'), FINISH, DONE])
GOOD_WHOLE = response(
    200,
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop",'
    b'"message":{"role":"assistant","content":"A good answer."}}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":4,"total_tokens":5}}',
)


def good(request: bytes) -> list[Step]:
    """A good answer, streamed if a stream was asked for."""
    return [GOOD if is_streamed(request) else GOOD_WHOLE]
