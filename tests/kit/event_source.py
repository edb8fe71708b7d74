"""EventSource as browsers have it (WHATWG HTML section 9.2): it reconnects behind the last event that it saw."""

import asyncio
from collections.abc import Callable

from .async_http import read_chunk, read_head
from .sse_client import Event


class EventSource:
    """One subscriber. `events` holds all events that it has seen, over all its connections."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._path = path
        self._last_event_id = ""
        self._retry_seconds = 3.0
        self.events: list[Event] = []
        self.connections = 0
        self.refused = 0  # how many connections were refused
        self.failures: list[str] = []  # answers after which a browser does not come back

    async def run(self) -> None:
        """Read and reconnect, until the task is cancelled or an answer says not to come back."""
        while not self.failures:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
            except OSError:
                self.refused += 1
            else:
                self.connections += 1
                try:
                    await self._read(reader, writer)
                except (asyncio.IncompleteReadError, ConnectionError):
                    pass  # the received part of an event that was cut is dropped
                finally:
                    writer.close()
            if not self.failures:
                await asyncio.sleep(self._retry_seconds)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fields = ["Host: localhost", "Accept: text/event-stream"]
        if self._last_event_id:
            fields.append(f"Last-Event-ID: {self._last_event_id}")
        head = "\r\n".join([f"GET {self._path} HTTP/1.1", *fields])
        writer.write(f"{head}\r\n\r\n".encode())
        status, _ = await read_head(reader)
        if status != 200:
            self.failures.append(f"status {status}")
            return
        text = ""
        while chunk := await read_chunk(reader):
            text += chunk.decode()
            self._note_retry(chunk.decode())
            *blocks, text = text.split("\n\n")
            for block in blocks:
                self._take(block)

    def _note_retry(self, lines: str) -> None:
        for line in lines.split("\n"):
            if line.startswith("retry: "):
                self._retry_seconds = int(line[7:]) / 1000

    def _take(self, block: str) -> None:
        event = Event.parse(block)
        assert event is not None, "a block without data, which many clients take for an empty event"
        self.events.append(event)
        self._last_event_id = event.id or self._last_event_id


class Audience:
    """Many `EventSource` subscribers of one path, running as long as the context lasts."""

    def __init__(self, port: int, path: str, count: int) -> None:
        self.members = [EventSource(port, path) for _ in range(count)]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Audience":
        self._tasks = [asyncio.create_task(member.run()) for member in self.members]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def wait_until(self, holds: Callable[[EventSource], bool], what: str, seconds: float = 60.0) -> None:
        """Wait until `holds` is true for every subscriber."""
        deadline = asyncio.get_running_loop().time() + seconds
        while waiting := [member for member in self.members if not holds(member)]:
            failed = [member.failures for member in self.members if member.failures]
            assert not failed, failed[0]
            assert asyncio.get_running_loop().time() < deadline, f"{len(waiting)} of {len(self.members)} wait: {what}"
            await asyncio.sleep(0.02)
