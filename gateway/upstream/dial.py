"""Shell: the dialer of one origin: TCP, an HTTP proxy's CONNECT if there is a proxy, TLS.

In: an origin and its limits. Out: an open connection, or an `UpstreamError`. Each step has its own limit and its own
words in the error, which names no host, since clients read it. The invariant: a cancelled dial leaves no socket.
"""

import asyncio
import base64
import functools
import ipaddress
import os
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast
from urllib.parse import unquote, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # missing in typeshed

import aiohappyeyeballs

from gateway.errors import ConfigError, UpstreamError
from gateway.upstream.connection import UpstreamConnection
from gateway.wire import http1

MAX_PROXY_HEAD_BYTES = 16384  # the limit of a CONNECT answer, which is a status line and a few fields
HAPPY_EYEBALLS_SECONDS = 0.25  # how long one address is tried alone before the next joins it (RFC 8305 section 5)
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])[ \r]")

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
        """Host and port for the `Host` field: the default port left out, IPv6 in brackets (RFC 9110 section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class DialLimits:
    """The limits of a dial's steps; `connect_ms` limits TCP, and once more a proxy's CONNECT."""

    connect_ms: int
    tls_ms: int


@dataclass(frozen=True, slots=True)
class Dialer:
    """The way to one origin. `proxy` is an `http://[user:password@]host:port` URL, or None.

    A proxy is asked for a tunnel to an origin with TLS. For an origin without TLS it is sent the requests themselves.
    """

    origin: Origin
    limits: DialLimits
    tls: ssl.SSLContext | None = None
    proxy: str | None = None

    def target(self, path: str) -> str:
        """The target of a request for this path (RFC 9112 section 3.2): absolute if a proxy takes the request."""
        return path if self._is_tunnelled else f"http://{self.origin.authority}{path}"

    def hop_fields(self) -> list[tuple[str, str]]:
        """The fields of a request that are for a proxy which takes the request."""
        credential = None if self._is_tunnelled else proxy_credential(self.proxy or "")
        return [] if credential is None else [("Proxy-Authorization", credential)]

    @property
    def _is_tunnelled(self) -> bool:
        """Whether requests go to the origin itself: straight, or through a tunnel."""
        return self.proxy is None or self.origin.tls

    async def dial(self, build: Callable[[], UpstreamConnection]) -> UpstreamConnection:
        """A connected, idle connection. Raises `UpstreamError`."""
        loop = asyncio.get_running_loop()
        connection = build()
        protocol: asyncio.Protocol = connection
        host, port, what = self.origin.host, self.origin.port, "connecting"
        if self.proxy is not None:
            (host, port), what = _address(self.proxy), "connecting to the proxy"
            if self.origin.tls:
                protocol = _Tunnel()
        transport, _ = await self._limited(_connect(loop, protocol, host, port), what, "connect")
        try:
            if isinstance(protocol, _Tunnel):
                what = "the proxy's CONNECT"
                await self._limited(protocol.open(self.origin, self.proxy or ""), what, "connect")
                transport.set_protocol(connection)
                connection.connection_made(transport)
            if self.tls is not None:
                what = "the TLS handshake"
                secure = loop.start_tls(transport, connection, self.tls, server_hostname=self.origin.host)
                secured = await self._limited(secure, what, "tls")
                if connection.is_open:
                    connection.connection_made(cast(asyncio.BaseTransport, secured))
            if not connection.is_open:  # it was lost before it had an owner that `connection_lost` could tell
                raise UpstreamError(f"{what} failed: the connection was closed")
        except BaseException:
            transport.abort()
            raise
        return connection

    async def _limited(self, step: Awaitable[_Result], what: str, phase: str) -> _Result:
        limit_ms = self.limits.tls_ms if phase == "tls" else self.limits.connect_ms
        try:
            async with asyncio.timeout(limit_ms / 1000):
                return await step
        except TimeoutError:
            raise UpstreamError(f"{what} took longer than {phase}_timeout_ms ({limit_ms})") from None
        except (OSError, UnicodeError) as error:
            raise UpstreamError(f"{what} failed: {_reason(error)}") from None


async def _connect(
    loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol, host: str, port: int
) -> tuple[asyncio.Transport, asyncio.Protocol]:
    """A TCP connection to the first address that answers (RFC 8305, which uvloop does not implement)."""
    if ":" in host or host.replace(".", "").isdigit():
        return await loop.create_connection(lambda: protocol, host, port)
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    connected = await aiohappyeyeballs.start_connection(
        addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_SECONDS, loop=loop
    )
    try:
        return await loop.create_connection(lambda: protocol, sock=connected)
    except BaseException:
        connected.close()
        raise


def _reason(error: OSError | UnicodeError) -> str:
    """Why a step failed, without the names and addresses that asyncio and ssl put into their messages."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "the certificate is not trusted: " + error.verify_message.split(", certificate is not valid for")[0]
    if isinstance(error, ssl.SSLError):
        return (error.reason or "TLS error").replace("_", " ").lower()
    if isinstance(error, socket.gaierror | UnicodeError):  # UnicodeError: no name that DNS allows
        return "the host name does not resolve"
    if error.errno:
        return os.strerror(error.errno)
    return "the connection was closed" if isinstance(error, ConnectionError) else "no address could be reached"


def _address(proxy_url: str) -> tuple[str, int]:
    proxy = urlsplit(proxy_url)
    try:
        port = proxy.port or 80
    except ValueError:
        port = 0
    if proxy.scheme != "http" or not proxy.hostname or not port:
        raise UpstreamError("the proxy's address is not an http:// URL")
    return proxy.hostname, port


class _Tunnel(asyncio.Protocol):
    """The connection to an HTTP proxy that is asked for a tunnel (RFC 9110 section 9.3.6)."""

    def __init__(self) -> None:
        self._answer = bytearray()
        self._done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._done.done():
            return
        self._answer += data
        if b"\r\n\r\n" in self._answer or len(self._answer) > MAX_PROXY_HEAD_BYTES:
            self._done.set_result(bytes(self._answer))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(b"")

    async def open(self, origin: Origin, proxy_url: str) -> None:
        """Ask for the tunnel to the origin. Raises `UpstreamError` if the proxy gives none."""
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        target = f"{host}:{origin.port}"
        fields = [("Host", target)]
        if (credential := proxy_credential(proxy_url)) is not None:
            fields.append(("Proxy-Authorization", credential))
        assert self._transport is not None
        self._transport.write(http1.encode_request("CONNECT", target, fields))
        answer = await self._done
        if not answer:
            raise UpstreamError("the proxy hung up")
        if b"\r\n\r\n" not in answer:
            raise UpstreamError(f"the proxy's answer is over {MAX_PROXY_HEAD_BYTES} bytes")
        status = _STATUS_LINE.match(answer)
        if status is None:
            raise UpstreamError("the proxy's answer is not HTTP")
        if not status[1].startswith(b"2"):
            raise UpstreamError(f"the proxy refused the tunnel: HTTP {status[1].decode()}")


def proxy_credential(proxy_url: str) -> str | None:
    """The value of `Proxy-Authorization` for the user and the password in this URL; None without a user."""
    proxy = urlsplit(proxy_url)
    if proxy.username is None:
        return None
    secret = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
    return "Basic " + base64.b64encode(secret).decode()


def proxy_for(origin: Origin, proxies: Mapping[str, str]) -> str | None:
    """The URL of the proxy that `HTTPS_PROXY` or `HTTP_PROXY` names for this origin; None for a straight way.

    `NO_PROXY` exempts origins. An origin without TLS on this machine is never asked through a proxy.
    """
    scheme = "https" if origin.tls else "http"
    if scheme not in proxies or (not origin.tls and _is_loopback(origin.host)):
        return None
    bypass = proxy_bypass_environment(f"{origin.host}:{origin.port}", dict(proxies))
    proxy = proxies[scheme]
    return None if bypass else proxy if "://" in proxy else f"http://{proxy}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """The PEM files by which the gateway shows an upstream who it is. `key` None: the first file has the key too."""

    chain: str
    key: str | None = None


def tls_context(ca_file: str | None, certificate: ClientCertificate | None = None) -> ssl.SSLContext:
    """A context that checks certificates and host names; `ca_file` replaces the system's authorities.

    Raises `ConfigError` for a file that holds no authority, or no usable certificate. The system's authorities are
    read once in a process, since reading them takes 30 ms and a megabyte; a context with a certificate is its own.
    """
    if ca_file is None and certificate is None:
        return _system_context()
    context = _context(ca_file)
    if certificate is not None:
        _load(context, certificate)
    return context


@functools.cache
def _system_context() -> ssl.SSLContext:
    return _context(None)


def _context(ca_file: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # also `ssl.SSLError`, which is a subclass
        raise ConfigError([f"tls_ca_file: cannot use {ca_file}: {error.strerror or error}"]) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _load(context: ssl.SSLContext, certificate: ClientCertificate) -> None:
    try:
        # The password of a protected key would be asked for at a terminal, which a server does not have.
        context.load_cert_chain(certificate.chain, certificate.key, password="")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        files = f"{certificate.chain}{f' with {certificate.key}' if certificate.key else ''}"
        raise ConfigError([f"tls_client_cert_file: cannot use {files}: {reason}"]) from None
