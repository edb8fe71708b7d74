"""Wiring: everybody who is measured, and how to start them: the gateway, nginx, Nchan, aiohttp, a C loop, LiteLLM.

In: a site. Out: a peer whose command writes its configuration there. Invariant: the gateway is known by its command
line and its configuration alone, so that any checkout of it can be measured.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.kit import machine
from bench.kit.check import ContentCheck
from bench.kit.client import Header, Target
from bench.kit.load import Load, Outcome, Plan
from bench.kit.processes import Peer, PeerFailed, Running, Site, environment, started
from bench.kit.script import MODEL

DIRECT, GATEWAY, UNBATCHED, WITH_KEY = "direct", "gateway", "gateway-unbatched", "gateway+key"
NGINX, AIOHTTP, LITELLM, NCHAN, C = "nginx", "aiohttp", "litellm", "nchan", "c"
NCHAN_MODULES = ("/usr/lib/nginx/modules/ngx_nchan_module.so", "/usr/lib64/nginx/modules/ngx_nchan_module.so")
NCHAN_BUFFER = 20_000  # messages it keeps: a subscriber that lags must not lose any, as with the others
WARM_UP = Plan(streams=8, tokens=20, gap=0.005, turns=3)


@dataclass(frozen=True, slots=True)
class Proxy:
    """A way from the clients of the load to its upstream: through a running peer, or direct."""

    name: str
    target: Target
    running: Running | None = None
    share: float = 1.0  # of the load

    def run(self, load: Load, plan: Plan) -> Outcome:
        """A turn of this proxy, which is frozen before and after. Raises `Broken`."""
        if self.running is None:
            return load.run(plan, self.target)
        with self.running.awake():
            return load.run(plan, self.target, self.running.cpu)


def frozen(
    peer: Peer, folder: Path, load: Load, core: int, stack: contextlib.ExitStack, headers: tuple[Header, ...] = ()
) -> Proxy:
    """Start a peer for as long as the stack lasts. Raises `PeerFailed`."""
    running = stack.enter_context(started(peer, folder / peer.name, load.port, core))
    running.freeze()
    return Proxy(peer.name, peer.target(running.port, headers), running, peer.load_share)


def gateway(name: str = GATEWAY, server: str = "", home: Path = machine.ROOT) -> Peer:
    """Without keys, open to loopback; `server`: more of its `[server]`; of the checkout `home`."""
    return Peer(name, lambda site: gateway_command(site, _priced("bench", site.upstream, 2.5), server), home=home)


def gateway_with_key() -> Peer:
    """It asks for a key with a balance and limits, none of which the load reaches."""
    headers: list[Header] = []  # known when the peer has been started

    def command(site: Site) -> list[str]:
        serve = gateway_command(site, _priced("bench", site.upstream, 2.5))
        limits = ["--models", MODEL, "--rpm", "1000000", "--max-streams", "10000", "--balance-usd", "1000000000"]
        create = [sys.executable, "-m", "gateway", "keys", "create", "--name", "bench", *limits, "--json", *serve[4:]]
        done = subprocess.run(
            create, cwd=machine.ROOT, env=environment(machine.ROOT), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise PeerFailed(f"{WITH_KEY}: {done.stderr}")
        headers[:] = [("Authorization", f"Bearer {json.loads(done.stdout)['secret']}")]
        return serve

    return Peer(WITH_KEY, command, headers=headers)


def gateway_command(site: Site, upstreams: str, server: str = "", sections: str = "") -> list[str]:
    text = f'[server]\nlisten = "127.0.0.1:{site.port}"\n{server}\n{sections}\n{upstreams}\n'
    config = site.write("gateway.toml", f'{text}[storage]\npath = "{site.folder / "bench.db"}"\n')
    return [sys.executable, "-m", "gateway", "serve", "--config", str(config)]


def _priced(name: str, url: str, usd: float) -> str:
    """An upstream of the gateway with one model, in TOML."""
    return (
        f'[[upstreams]]\nname = "{name}"\nbase_url = "{url}/v1"\n'
        f'[[upstreams.models]]\nid = "{MODEL}"\ninput_usd_per_mtok = {usd}\noutput_usd_per_mtok = {usd * 4}\n'
    )


def hedging(name: str, hedge_after: str, upstreams: Iterable[tuple[str, int, float]]) -> Peer:
    """A gateway in front of several upstreams (name, port, price), asked in that order."""
    priced = "".join(_priced(each, f"http://127.0.0.1:{port}", usd) for each, port, usd in upstreams)
    sections = f'[ttft]\nhedge_after = "{hedge_after}"\n[routing]\noptimize = "priority"'
    return Peer(name, lambda site: gateway_command(site, priced, sections=sections))


def simulated(name: str, script: dict[str, object]) -> Peer:
    """A provider that behaves as told: `rivergate sim`."""
    command = [sys.executable, "-m", "gateway", "sim", "--script", json.dumps(script), "--port"]
    return Peer(name, lambda site: [*command, str(site.port)])


def plain_aiohttp(loop: str = "") -> Peer:
    """On asyncio's own loop, as in DESIGN.md section 7; `loop`: "uvloop", for those who know of it."""
    command = [sys.executable, "-m", "bench.kit.plain_peers", "proxy"]
    more = [loop] if loop else []
    return Peer("+".join([AIOHTTP, *more]), lambda site: [*command, str(site.port), site.upstream, *more])


def queues() -> Peer:
    """aiohttp with a queue per subscriber."""
    return Peer(AIOHTTP, lambda site: [sys.executable, "-m", "bench.kit.plain_peers", "queues", str(site.port)])


def nginx_binary() -> str:
    return shutil.which("nginx") or "/usr/sbin/nginx"


def nginx() -> Peer:
    return Peer(NGINX, lambda site: _nginx_command(site, "", _NGINX % (site.upstream_port, site.port)))


def nchan() -> Peer:
    def command(site: Site) -> list[str]:
        files = f"worker_rlimit_nofile {machine.raise_open_files()};"
        return _nginx_command(site, f"load_module {nchan_module()};\n{files}", _NCHAN % (site.port, NCHAN_BUFFER))

    return Peer(NCHAN, command)


def nchan_module() -> str:
    """The path of nginx's module. Raises `PeerFailed`."""
    for path in NCHAN_MODULES:
        if Path(path).exists():
            return path
    raise PeerFailed(f"{NCHAN}: its nginx module is not installed (Debian: libnginx-mod-nchan)")


_NGINX = """
    upstream provider { server 127.0.0.1:%d; keepalive 512; keepalive_requests 1000000; }
    server {
        listen 127.0.0.1:%d backlog=4096;
        location / {
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }
    }"""
_NCHAN = """
    nchan_shared_memory_size 256M;
    server {
        listen 127.0.0.1:%d backlog=4096;
        location = /pub {
            nchan_publisher;
            nchan_channel_id bench;
            nchan_message_buffer_length %d;
            nchan_message_timeout 5m;
        }
        location = /sub {
            nchan_subscriber eventsource;
            nchan_channel_id bench;
            nchan_subscriber_first_message oldest;
        }
    }"""


def _nginx_command(site: Site, main: str, http: str) -> list[str]:
    folder, log = site.folder, site.folder / "error.log"
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f"    {kind}_temp_path {folder}/{kind};" for kind in kinds)
    config = site.write(
        "nginx.conf",
        f"""{main}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {log};
events {{ worker_connections 16384; }}
http {{
    access_log off;
{temporary}
    keepalive_requests 100000000;
    tcp_nodelay on;
{http}
}}
""",
    )
    return [nginx_binary(), "-p", str(folder), "-e", str(log), "-c", str(config)]


def c_loop() -> Peer:
    """bench/kit/c_fanout.c: the floor, one `send` for each delivery."""

    def command(site: Site) -> list[str]:
        program, source = site.folder / "c_fanout", Path(__file__).with_name("c_fanout.c")
        compile_it = ["gcc", "-O2", "-o", str(program), str(source)]
        try:
            subprocess.run(compile_it, capture_output=True, text=True, timeout=60, check=True)
        except OSError as error:
            raise PeerFailed(f"{C}: no gcc: {error}") from error
        except subprocess.CalledProcessError as error:
            raise PeerFailed(f"{C}: {error.stderr}") from error
        return [str(program), str(site.port)]

    return Peer(C, command)


def litellm(python: str) -> Peer:
    """`python` has `litellm[proxy]`. It builds events of its own and saturates near 1,000 events/s.

    It refuses to start without a master key, so it gets one that lives as long as the bench.
    """
    key = f"sk-{secrets.token_hex(32)}"

    def command(site: Site) -> list[str]:
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

    headers = [("Authorization", f"Bearer {key}")]
    return Peer(LITELLM, command, ContentCheck, load_share=0.02, start_seconds=120.0, headers=headers)


def versions(*names: str) -> dict[str, str]:
    """Versions of packages and of the peers `nginx`, `nchan` and `gcc`; "absent" for what is not installed."""
    asked = {
        NGINX: lambda: machine.output_of(nginx_binary(), "-v").rpartition("/")[2],
        NCHAN: lambda: machine.output_of("dpkg-query", "-W", "-f", "${Version}", f"libnginx-mod-{NCHAN}"),
        "gcc": lambda: machine.output_of("gcc", "-dumpfullversion"),
    }
    found = machine.versions(*(name for name in names if name not in asked))
    return found | {name: asked[name]() or "absent" for name in names if name in asked}
