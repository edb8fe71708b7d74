"""Shell: the pool of one origin's connections. It decides which one to reuse; its callers do the sending.

In: connections that have become idle. Out: a connection for the next request. The invariant: a connection rests here
only after a response that ended as it was framed; an aborted connection never returns.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from gateway.errors import UpstreamError
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.dial import Dialer
from gateway.upstream.later_turns import LaterTurns
from gateway.upstream.pace import Pace


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """The connections that are open and idle now, and how often a connection was dialled and reused so far."""

    open: int
    idle: int
    dialled: int
    reused: int


class Pool:
    """Keep-alive connections to one origin: newest reused first, oldest dropped first."""

    def __init__(self, dialer: Dialer, *, max_idle: int, idle_seconds: float, pace: Pace | None = None) -> None:
        self._dialer = dialer
        self._pace = pace or Pace()
        self._max_idle = max_idle
        self._idle_seconds = idle_seconds
        self._idle: deque[tuple[UpstreamConnection, float]] = deque()  # oldest first, with the time it came to rest
        self._open: set[UpstreamConnection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._dialled = 0
        self._reused = 0
        self._closed = False

    @property
    def later(self) -> LaterTurns:
        """The later turns of the event loop for long work on what the connections have brought."""
        return self._pace.later

    def take_nowait(self) -> UpstreamConnection | None:
        """A connection that is idle and, as far as can be known, alive; None if a new one has to be dialled."""
        while self._idle:
            connection, _ = self._idle.pop()
            if connection.is_open:
                self._reused += 1
                return connection
        return None

    async def dial(self) -> UpstreamConnection:
        """A new connection. Raises `UpstreamError`."""
        connection = await self._dialer.dial(lambda: UpstreamConnection(self._rest, self._forget, self._pace))
        if self._closed:
            connection.abort()
            raise UpstreamError("the gateway has closed its connections")
        self._dialled += 1
        self._open.add(connection)
        return connection

    def close(self) -> None:
        """Close every connection, keep no more, and fail the exchanges that are under way."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        self._idle.clear()
        for connection in list(self._open):
            connection.close()

    def retire(self) -> None:
        """Keep no connection from now on; exchanges that are under way end by themselves."""
        self._max_idle = 0
        while self._idle:
            self._idle.popleft()[0].abort()

    def statistics(self) -> PoolStatistics:
        return PoolStatistics(len(self._open), len(self._idle), self._dialled, self._reused)

    def _rest(self, connection: UpstreamConnection) -> None:
        if self._closed:
            connection.abort()
            return
        self._idle.append((connection, asyncio.get_running_loop().time()))
        if len(self._idle) > self._max_idle:
            self._idle.popleft()[0].abort()
        if self._sweep is None:
            self._schedule_sweep(self._idle_seconds)

    def _forget(self, connection: UpstreamConnection) -> None:
        self._open.discard(connection)
        for entry in self._idle:
            if entry[0] is connection:
                self._idle.remove(entry)
                break

    def _schedule_sweep(self, delay: float) -> None:
        self._sweep = asyncio.get_running_loop().call_later(delay, self._drop_expired)

    def _drop_expired(self) -> None:
        self._sweep = None
        now = asyncio.get_running_loop().time()
        while self._idle and self._idle[0][1] + self._idle_seconds <= now:
            self._idle.popleft()[0].abort()
        if self._idle:
            self._schedule_sweep(max(self._idle[0][1] + self._idle_seconds - now, 0.01))
