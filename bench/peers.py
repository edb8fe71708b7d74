"""Shell: the proxies under test as subprocesses, each alone on its core.

In: a site (folder, ports). Out: a running peer with its port and its CPU. Invariant: whatever happens, the
whole process group is gone when the `with` block ends; a peer that does not start says why, by its log's end.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.frames import MODEL, ContentCheck, ExactCheck
from bench.load_client import Header, Target
from bench.machine import ROOT, cpu_method, cpu_seconds
from gateway.access import secret as access_secret
from gateway.access.ledger import Key, Ledger

LEDGER = "bench.db"
LOG_LINES = 15
STOP_SECONDS = 5.0  # after SIGTERM; then SIGKILL
POLL_SECONDS = 0.05


class PeerFailed(Exception):
    """The peer could not be started; the text holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a peer lives: its own folder, the port it must open, the upstream it must call."""

    folder: Path
    port: int
    upstream_port: int

    @property
    def upstream(self) -> str:
        return f"http://127.0.0.1:{self.upstream_port}"

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path


@dataclass(frozen=True, slots=True)
class Peer:
    """`command` writes the configuration into the site and returns the command line."""

    name: str
    command: Callable[[Site], list[str]]
    check: type[ExactCheck] = ExactCheck
    load_share: float = 1.0  # of the load the others get: one that saturates early is measured below that
    start_seconds: float = 20.0
    headers: tuple[Header, ...] = ()  # it wants these on every request
    home: Path = ROOT  # where it runs: a gateway imports the package that stands there

    def target(self, port: int, headers: tuple[Header, ...]) -> Target:
        """The peer's own headers win over the given ones of the same name."""
        own = {name.lower() for name, _ in self.headers}
        return Target(port, self.check, tuple(one for one in headers if one[0].lower() not in own) + self.headers)


@dataclass(frozen=True, slots=True)
class Running:
    """A started peer."""

    pid: int
    port: int
    method: str

    def cpu(self) -> float:
        """CPU seconds of the whole process tree so far."""
        return cpu_seconds(self.pid, self.method)

    def freeze(self) -> None:
        """Let none of its processes run until a turn of its own: idle ones have timers and threads too."""
        os.killpg(self.pid, signal.SIGSTOP)

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """A turn of one that is frozen."""
        os.killpg(self.pid, signal.SIGCONT)
        try:
            yield
        finally:
            self.freeze()


def environment(home: Path) -> dict[str, str]:
    """The environment of a peer that runs in `home`: the packages that stand there come first."""
    added = {"PYTHONPATH": str(home), "NO_PROXY": "127.0.0.1,localhost", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return os.environ | added


@contextlib.contextmanager
def started(peer: Peer, folder: Path, upstream_port: int, core: int) -> Iterator[Running]:
    """Start `peer` on `core` and wait until it accepts connections; raises `PeerFailed`."""
    folder.mkdir(parents=True, exist_ok=True)
    site = Site(folder, free_port(), upstream_port)
    command = peer.command(site)
    log = folder / "log"
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(
                command,
                cwd=peer.home,
                env=environment(peer.home),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )
        except OSError as error:
            raise PeerFailed(f"{peer.name}: {error}") from error
    try:
        _wait_until_open(peer, process, site.port, log)
        yield Running(process.pid, site.port, cpu_method())
    finally:
        stop(process)


def _wait_until_open(peer: Peer, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    give_up = time.monotonic() + peer.start_seconds
    while time.monotonic() < give_up:
        if process.poll() is not None:
            raise PeerFailed(f"{peer.name}: ended with status {process.returncode}\n{_tail(log)}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(POLL_SECONDS)
    raise PeerFailed(f"{peer.name}: no open port after {peer.start_seconds:.0f} s\n{_tail(log)}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the group: politely, then for certain (workers may outlive their parent)."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGCONT)  # a frozen one hears no signal
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    return "\n".join(f"    {line}" for line in lines)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def nginx_binary() -> str:
    """Debian keeps it out of a user's PATH."""
    return shutil.which("nginx") or "/usr/sbin/nginx"


def nginx() -> Peer:
    return Peer("nginx", _nginx_command)


def _nginx_command(site: Site) -> list[str]:
    config = site.write(
        "nginx.conf",
        f"""
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {site.folder}/nginx.pid;
error_log {site.folder}/error.log;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {site.folder}/body;
    proxy_temp_path {site.folder}/proxy;
    fastcgi_temp_path {site.folder}/fastcgi;
    uwsgi_temp_path {site.folder}/uwsgi;
    scgi_temp_path {site.folder}/scgi;
    keepalive_requests 1000000;
    tcp_nodelay on;
    upstream provider {{
        server 127.0.0.1:{site.upstream_port};
        keepalive 512;
        keepalive_requests 1000000;
    }}
    server {{
        listen 127.0.0.1:{site.port} backlog=4096;
        location / {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
""",
    )
    return [nginx_binary(), "-p", str(site.folder), "-e", str(site.folder / "error.log"), "-c", str(config)]


def plain_aiohttp(loop: str = "") -> Peer:
    """On asyncio's own loop, as in DESIGN.md section 7; `loop`: "uvloop", for those who know of it."""
    name = f"aiohttp+{loop}" if loop else "aiohttp"
    command = [sys.executable, "-m", "bench.plain_proxy"]
    return Peer(name, lambda site: [*command, str(site.port), site.upstream, *([loop] if loop else [])])


def gateway(name: str = "gateway", home: Path = ROOT) -> Peer:
    """Without keys, open to loopback; of the checkout `home`."""
    return Peer(name, _gateway_command, home=home)


def gateway_unbatched() -> Peer:
    """It relays each token at once, under load too: what `server.batch_us` saves, and what it takes in latency."""
    return Peer("gateway-unbatched", lambda site: _gateway_command(site, "batch_us = 0\n"))


def gateway_with_key() -> Peer:
    """It asks for a key with a balance and limits, none of which the load reaches."""
    secret = access_secret.make(secrets.choice)
    return Peer(
        "gateway+key",
        lambda site: _gateway_with_key_command(site, secret),
        headers=(("Authorization", f"Bearer {secret}"),),
    )


def _gateway_with_key_command(site: Site, secret: str) -> list[str]:
    ledger = Ledger.open(site.folder / LEDGER)
    ledger.add(
        Key(
            id="bench",
            digest=access_secret.digest(secret),
            prefix=secret[: access_secret.SHOWN],
            name="bench",
            models=(MODEL,),
            rpm=1_000_000,
            max_streams=10_000,
            balance_microusd=10**15,
            created_at=0,
            expires_at=None,
        )
    )
    ledger.close()
    return _gateway_command(site)


def _gateway_command(site: Site, server: str = "") -> list[str]:
    return gateway_command(
        site,
        f"""{server}
[[upstreams]]
name = "bench"
base_url = "{site.upstream}/v1"
[[upstreams.models]]
id = "{MODEL}"
input_usd_per_mtok = 2.5
output_usd_per_mtok = 10.0

[storage]
path = "{site.folder / LEDGER}"
""",
    )


def gateway_command(site: Site, sections: str) -> list[str]:
    """The gateway with more of `[server]` and these sections of its configuration."""
    config = site.write("gateway.toml", f'[server]\nlisten = "127.0.0.1:{site.port}"\n{sections}')
    return [sys.executable, "-m", "gateway", "serve", "--config", str(config)]


def litellm(python: str) -> Peer:
    """`python` has `litellm[proxy]`. It builds events of its own and saturates near 1,000 events/s.

    It refuses to start without a master key, so it gets one that lives as long as the bench.
    """
    key = f"sk-{secrets.token_hex(32)}"
    return Peer(
        "litellm",
        lambda site: _litellm_command(site, python, key),
        check=ContentCheck,
        load_share=0.02,
        start_seconds=120.0,
        headers=(("Authorization", f"Bearer {key}"),),
    )


def _litellm_command(site: Site, python: str, key: str) -> list[str]:
    config = site.write(
        "litellm.yaml",
        f"""
model_list:
  - model_name: {MODEL}
    litellm_params: {{model: openai/{MODEL}, api_base: "{site.upstream}/v1", api_key: none}}
litellm_settings: {{telemetry: false}}
general_settings: {{master_key: {key}}}
""",
    )
    start = "from litellm.proxy.proxy_cli import run_server; run_server()"
    options = ["--host", "127.0.0.1", "--port", str(site.port), "--num_workers", "1", "--config", str(config)]
    return [python, "-c", start, *options]
