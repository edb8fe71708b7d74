"""The reverse proxies: their own checkers accept the files; each relays events and hang-ups at once."""

import datetime
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .places import DEPLOY, run, tool

HOST = "rivergate.example.com"
PROXIES = ("nginx", "caddy", "haproxy")
PATIENCE = 10.0
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache, no-transform\r\n"
    b"X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@dataclass(frozen=True)
class Setting:
    """The shipped configuration, with other ports and certificates, as files in a folder."""

    file: Path
    check: list[str]
    serve: list[str]


def _nginx(folder: Path, port: int, origin: int) -> Setting:
    site = (DEPLOY / "proxies/nginx.conf").read_text()
    site = _replaced(site, "    listen [::]:443 ssl http2;\n", "")
    site = _replaced(site, "listen 443 ssl http2", f"listen 127.0.0.1:{port} ssl http2")
    site = _replaced(site, "/etc/ssl/rivergate/fullchain.pem", f"{folder}/cert.pem")
    site = _replaced(site, "/etc/ssl/rivergate/privkey.pem", f"{folder}/key.pem")
    (folder / "site.conf").write_text(_replaced(site, "server 127.0.0.1:8080", f"server 127.0.0.1:{origin}"))
    scratch = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = folder / "nginx.conf"
    file.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {scratch} include {folder}/site.conf; }}\n"
    )
    command = [tool("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(file)]
    return Setting(file, [*command, "-t"], command)


def _caddy(folder: Path, port: int, origin: int) -> Setting:
    text = (DEPLOY / "proxies/Caddyfile").read_text()
    bound = f"https://{HOST}:{port} {{\n\tbind 127.0.0.1\n\ttls {folder}/cert.pem {folder}/key.pem\n"
    text = _replaced(text, f"\n{HOST} {{\n", f"\n{bound}")
    text = _replaced(text, "127.0.0.1:8080", f"127.0.0.1:{origin}")
    file = folder / "Caddyfile"
    quiet = "{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n}\n"
    file.write_text(quiet + text)
    caddy, found = tool("caddy"), ["--adapter", "caddyfile", "--config", str(file)]
    return Setting(file, [caddy, "validate", *found], [caddy, "run", *found])


def _haproxy(folder: Path, port: int, origin: int) -> Setting:
    text = (DEPLOY / "proxies/haproxy.cfg").read_text()
    text = _replaced(
        text, "bind :443 ssl crt /etc/haproxy/rivergate.pem", f"bind 127.0.0.1:{port} ssl crt {folder}/both.pem"
    )
    text = _replaced(text, "maxconn 60000", "maxconn 100")
    text = _replaced(text, "local 127.0.0.1:8080", f"local 127.0.0.1:{origin}")
    file = folder / "haproxy.cfg"
    file.write_text(text)
    command = [tool("haproxy"), "-f", str(file)]
    return Setting(file, [*command, "-c"], [*command, "-db"])


SETTINGS: dict[str, Callable[[Path, int, int], Setting]] = {"nginx": _nginx, "caddy": _caddy, "haproxy": _haproxy}


def _replaced(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def _write_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "cert.pem").write_bytes(pem)
    (folder / "key.pem").write_bytes(secret)
    (folder / "both.pem").write_bytes(pem + secret)


class Origin:
    """A server in the place of the gateway, which sends what a test tells it to send."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self.port: int = self._listener.getsockname()[1]
        self.request = b""
        self._asked = threading.Event()
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._accept, name="origin")
        self._thread.start()

    def send(self, data: bytes) -> None:
        assert self._asked.wait(PATIENCE)
        assert self._connection is not None
        self._connection.sendall(data)

    def event(self, data: bytes) -> None:
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def wait_hung_up(self) -> None:
        """Wait until the proxy has closed its connection; raises TimeoutError if it does not."""
        assert self._asked.wait(PATIENCE)
        assert self._connection is not None
        with suppress(ConnectionResetError):
            assert self._connection.recv(1) == b""

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread, which closing does not
        if self._connection is not None:
            self._connection.close()
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        """Take connections until a request comes that is not for `/readyz`."""
        while not self._asked.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(PATIENCE)
            request = b""
            while b"\r\n\r\n" not in request and (data := connection.recv(65536)):
                request += data
            if b" /readyz" in request:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            if b" /v1/" not in request:
                connection.close()
                continue
            self.request, self._connection = request, connection
            self._asked.set()


@dataclass(frozen=True)
class Through:
    """A running proxy, and the origin behind it."""

    port: int
    origin: Origin

    @contextmanager
    def ask(self, path: str = "/v1/streams/st_1/events") -> Iterator[ssl.SSLSocket]:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as raw,
            context.wrap_socket(raw, server_hostname=HOST) as client,
        ):
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nX-Stream-Key: k\r\n\r\n".encode())
            yield client


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _wait_listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            threading.Event().wait(0.02)
        else:
            return
    pytest.fail(f"the proxy does not listen: {log.read_text()[-2000:]}")


def _received(client: ssl.SSLSocket, until: bytes) -> bytes:
    data = b""
    while until not in data:
        more = client.recv(65536)
        assert more, data
        data += more
    return data


@pytest.fixture
def setting(request: pytest.FixtureRequest, tmp_path: Path) -> Setting:
    _write_certificate(tmp_path)
    return SETTINGS[request.param](tmp_path, _free_port(), 8080)


@pytest.fixture(params=PROXIES)
def through(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Through]:
    tool(request.param)
    _write_certificate(tmp_path)
    origin, port = Origin(), _free_port()
    log = tmp_path / "log"
    environ = {**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    try:
        found = SETTINGS[request.param](tmp_path, port, origin.port)
        with log.open("wb") as out, subprocess.Popen(found.serve, stdout=out, stderr=out, env=environ) as process:
            try:
                _wait_listening(port, process, log)
                yield Through(port, origin)
            finally:
                process.kill()
    finally:
        origin.close()


@pytest.mark.parametrize("setting", PROXIES, indirect=True)
def test_the_proxy_itself_finds_no_fault_in_its_configuration(setting: Setting, tmp_path: Path) -> None:
    done = run(*setting.check, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[warn" not in (done.stdout + done.stderr).lower()


def test_each_event_comes_through_before_the_next_one_is_sent(through: Through) -> None:
    with through.ask() as client:
        through.origin.send(HEAD)
        head = _received(client, b"\r\n\r\n")
        for number in range(3):
            event = b"data: %d\n\n" % number
            through.origin.event(event)
            _received(client, event)
    assert b"text/event-stream" in head
    assert b"x-accel-buffering: no" in head.lower()


def test_the_gateway_learns_what_it_needs_about_the_request(through: Through) -> None:
    with through.ask("/v1/models/meta%2Fllama?x=1"):
        through.origin.send(HEAD)
    found = through.origin.request.lower()
    assert found.startswith(b"get /v1/models/meta%2fllama?x=1 http/1.1\r\n")
    assert f"host: {HOST}".encode() in found
    assert b"x-stream-key: k" in found
    assert b"x-forwarded-for: 127.0.0.1" in found
    assert b"x-forwarded-proto: https" in found


def test_a_client_that_hangs_up_in_the_stream_is_gone_at_the_gateway(through: Through) -> None:
    with through.ask() as client:
        through.origin.send(HEAD)
        through.origin.event(b"data: 0\n\n")
        _received(client, b"data: 0\n\n")
    through.origin.wait_hung_up()


def test_a_client_that_hangs_up_before_the_first_token_is_gone_at_the_gateway(through: Through) -> None:
    with through.ask():
        through.origin.send(b"")  # waits until the request is there, and answers nothing
    through.origin.wait_hung_up()


def test_the_metrics_are_not_for_the_world(through: Through) -> None:
    with through.ask("/metrics") as client:
        assert b" 404 " in _received(client, b"\r\n\r\n").split(b"\r\n")[0] + b" "
    assert through.origin.request == b""
