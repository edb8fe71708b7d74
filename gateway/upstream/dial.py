"""Shell: opens connections to one origin: TCP, an HTTP proxy's CONNECT if the environment names one, TLS.

Each phase has its own limit and its own word in the error, which names no host: clients read it. A dial that is
cancelled leaves no socket behind.
"""

import asyncio
import base64
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast
from urllib.parse import unquote, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # missing in typeshed

from gateway.errors import UpstreamError
from gateway.upstream.connection import Connection
from gateway.wire import http1

MAX_PROXY_HEAD_BYTES = 16384  # a CONNECT answer is a status line and a few fields

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of a base URL (RFC 6454), and the path prefix behind them."""

    host: str
    port: int
    tls: bool
    prefix: str

    @classmethod
    def parse(cls, base_url: str) -> "Origin":
        parts = urlsplit(base_url)
        tls = parts.scheme == "https"
        return cls(parts.hostname or "", parts.port or (443 if tls else 80), tls, parts.path.rstrip("/"))

    @property
    def authority(self) -> str:
        """Host and port as the `Host` field wants them: the default port left out, IPv6 in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class DialLimits:
    connect_ms: int
    tls_ms: int


@dataclass(frozen=True, slots=True)
class Dialer:
    """Everything that is needed to reach one origin. `proxy` is an `http://[user:password@]host:port` URL or None."""

    origin: Origin
    limits: DialLimits
    tls: ssl.SSLContext | None = None
    proxy: str | None = None

    async def dial(self, build: Callable[[], Connection]) -> Connection:
        """A connected, idle connection. Raises `UpstreamError`."""
        loop = asyncio.get_running_loop()
        connection = build()
        if self.proxy is None:
            protocol, host, port = cast(asyncio.Protocol, connection), self.origin.host, self.origin.port
            via = ""
        else:
            proxy = urlsplit(self.proxy)
            protocol, host, port = _Tunnel(), proxy.hostname or "", proxy.port or 80
            via = " to the proxy"
        transport = await self._limited(
            loop.create_connection(lambda: protocol, host, port), f"connecting{via}", "connect"
        )
        try:
            if isinstance(protocol, _Tunnel):
                await self._limited(protocol.open(self.origin, self.proxy or ""), "the proxy's CONNECT", "connect")
                transport[0].set_protocol(connection)
                connection.connection_made(transport[0])
            if self.tls is not None:
                secured = await self._limited(
                    loop.start_tls(transport[0], connection, self.tls, server_hostname=self.origin.host),
                    "the TLS handshake",
                    "tls",
                )
                connection.connection_made(cast(asyncio.BaseTransport, secured))
        except BaseException:
            transport[0].abort()
            raise
        return connection

    async def _limited(self, step: Awaitable[_Result], what: str, phase: str) -> _Result:
        limit_ms = self.limits.tls_ms if phase == "tls" else self.limits.connect_ms
        try:
            async with asyncio.timeout(limit_ms / 1000):
                return await step
        except TimeoutError:
            raise UpstreamError(f"{what} took longer than {phase}_timeout_ms ({limit_ms})") from None
        except ssl.SSLCertVerificationError as error:
            raise UpstreamError(f"{what} failed: the certificate is not trusted: {error.verify_message}") from None
        except socket.gaierror:
            raise UpstreamError(f"{what} failed: the host name does not resolve") from None
        except OSError as error:
            raise UpstreamError(f"{what} failed: {error.strerror or error}") from None


class _Tunnel(asyncio.Protocol):
    """Asks an HTTP proxy for a tunnel (RFC 9110 section 9.3.6)."""

    def __init__(self) -> None:
        self._answer = bytearray()
        self._done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        complete = b"\r\n\r\n" in self._answer
        if not self._done.done() and (complete or len(self._answer) > MAX_PROXY_HEAD_BYTES):
            self._done.set_result(bytes(self._answer))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(b"")

    async def open(self, origin: Origin, proxy_url: str) -> None:
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        target = f"{host}:{origin.port}"
        fields = [("Host", target)]
        proxy = urlsplit(proxy_url)
        if proxy.username is not None:
            secret = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
            fields.append(("Proxy-Authorization", "Basic " + base64.b64encode(secret).decode()))
        assert self._transport is not None
        self._transport.write(http1.encode_request("CONNECT", target, fields))
        status_line = (await self._done).split(b"\r\n", 1)[0].decode("latin-1")
        if status_line.split(" ")[1:2] != ["200"]:
            raise UpstreamError(f"the proxy refused the tunnel: {status_line[:80] or 'it hung up'}")


def proxy_for(origin: Origin, proxies: Mapping[str, str]) -> str | None:
    """The proxy that `HTTPS_PROXY` names for this origin, unless `NO_PROXY` exempts it. Plain HTTP goes direct."""
    if not origin.tls or "https" not in proxies:
        return None
    bypass = proxy_bypass_environment(f"{origin.host}:{origin.port}", dict(proxies))
    proxy = proxies["https"]
    return None if bypass else proxy if "://" in proxy else f"http://{proxy}"


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Certificates and host names are always checked; `ca_file` replaces the system's authorities."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
