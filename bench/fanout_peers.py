"""Wiring: who fans out: the gateway, Nchan, a C loop of send(), and aiohttp with a queue per subscriber.

In: a folder. Out: a seat: a running peer on its core, a publisher connected to it, an audience that can join.
Invariant: what a seat has opened is closed when its `with` block ends, the peer last.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import machine, peers
from bench.fanout_audience import Audience
from bench.fanout_publish import Posts, Provider, Publisher, RawUpload, Upload
from bench.fanout_report import AIOHTTP, GATEWAY, NCHAN, C
from bench.frames import Script
from bench.peers import Peer, PeerFailed, Running, Site

NCHAN_MODULES = ("/usr/lib/nginx/modules/ngx_nchan_module.so", "/usr/lib64/nginx/modules/ngx_nchan_module.so")
NCHAN_BUFFER = 20_000  # messages it keeps: a subscriber that lags must not lose any, as with the others


@dataclass(slots=True)
class Seat:
    """One peer with its publisher and its audience."""

    name: str
    running: Running
    publisher: Publisher
    audience: Audience

    def publish(self, count: int) -> None:
        """Send the next `count` events; does not wait for anybody."""
        self.publisher.send(self.audience.publish(count))

    def memory_kib(self) -> dict[str, float]:
        return machine.memory_kib(self.running.pid)


@contextlib.contextmanager
def seated(name: str, folder: Path, script: Script, core: int) -> Iterator[Seat]:
    """Start the peer `name` on `core`. Raises `PeerFailed`."""
    build, publish = _LINE_UP[name]
    with seated_peer(build(), publish(script), folder, script, core) as seat:
        yield seat


@contextlib.contextmanager
def seated_peer(peer: Peer, publisher: Publisher, folder: Path, script: Script, core: int) -> Iterator[Seat]:
    """Start this peer on `core` and connect the publisher. Raises `PeerFailed`."""
    with contextlib.ExitStack() as stack:
        upstream_port = publisher.port if isinstance(publisher, Provider) else 0
        running = stack.enter_context(peers.started(peer, folder, upstream_port, core))
        stack.callback(publisher.close)
        try:
            publisher.open(running.port)
        except OSError as error:
            raise PeerFailed(f"{peer.name}: the publisher: {error}") from error
        audience = Audience(running.port, publisher.path, script.events)
        stack.callback(audience.close)
        yield Seat(peer.name, running, publisher, audience)


def _nchan() -> Peer:
    return Peer(NCHAN, _nchan_command)


def nchan_module() -> str:
    for path in NCHAN_MODULES:
        if Path(path).exists():
            return path
    raise PeerFailed("nchan: its nginx module is not installed (Debian: libnginx-mod-nchan)")


def _nchan_command(site: Site) -> list[str]:
    config = site.write(
        "nginx.conf",
        f"""
load_module {nchan_module()};
daemon off;
worker_processes 1;
worker_rlimit_nofile {machine.raise_open_files()};
pid {site.folder}/nginx.pid;
error_log {site.folder}/error.log;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path {site.folder}/body;
    proxy_temp_path {site.folder}/proxy;
    fastcgi_temp_path {site.folder}/fastcgi;
    uwsgi_temp_path {site.folder}/uwsgi;
    scgi_temp_path {site.folder}/scgi;
    keepalive_requests 100000000;
    tcp_nodelay on;
    nchan_shared_memory_size 256M;
    server {{
        listen 127.0.0.1:{site.port} backlog=4096;
        location = /pub {{
            nchan_publisher;
            nchan_channel_id bench;
            nchan_message_buffer_length {NCHAN_BUFFER};
            nchan_message_timeout 5m;
        }}
        location = /sub {{
            nchan_subscriber eventsource;
            nchan_channel_id bench;
            nchan_subscriber_first_message oldest;
        }}
    }}
}}
""",
    )
    return [peers.nginx_binary(), "-p", str(site.folder), "-e", str(site.folder / "error.log"), "-c", str(config)]


def _c_loop() -> Peer:
    return Peer(C, _c_command)


def _c_command(site: Site) -> list[str]:
    program, source = site.folder / "c_fanout", machine.ROOT / "bench/c_fanout.c"
    try:
        done = subprocess.run(
            ["gcc", "-O2", "-o", str(program), str(source)], capture_output=True, text=True, timeout=60, check=False
        )
    except OSError as error:
        raise PeerFailed(f"{C}: no gcc: {error}") from error
    if done.returncode:
        raise PeerFailed(f"{C}: {done.stderr}")
    return [str(program), str(site.port)]


def _queues() -> Peer:
    return Peer(AIOHTTP, lambda site: [sys.executable, "-m", "bench.queue_fanout", str(site.port)])


_LINE_UP: dict[str, tuple[Callable[[], Peer], Callable[[Script], Publisher]]] = {
    GATEWAY: (peers.gateway, Provider),
    NCHAN: (_nchan, Posts),
    C: (_c_loop, RawUpload),
    AIOHTTP: (_queues, Upload),
}
