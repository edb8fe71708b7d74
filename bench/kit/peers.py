"""Wiring: everybody who is measured, and how to start them: the gateway, nginx, Nchan, aiohttp, a C loop, LiteLLM.

In: a site. Out: a peer whose command fills its configuration, one of `templates`, into the site. Invariant: the
gateway is known by its command line and its configuration alone, so that any checkout of it can be measured.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.kit import machine
from bench.kit.check import ContentCheck
from bench.kit.client import Header, Target
from bench.kit.load import Load, Outcome, Plan
from bench.kit.processes import TEMPLATES, Peer, PeerFailed, Running, Site, output_of, started
from bench.kit.script import MODEL

DIRECT, GATEWAY, UNBATCHED, WITH_KEY = "direct", "gateway", "gateway-unbatched", "gateway+key"
NGINX, AIOHTTP, LITELLM, NCHAN, C = "nginx", "aiohttp", "litellm", "nchan", "c"
NCHAN_MODULES = ("/usr/lib/nginx/modules/ngx_nchan_module.so", "/usr/lib64/nginx/modules/ngx_nchan_module.so")
WARM_UP = Plan(streams=8, tokens=20, gap=0.005, turns=3)
PLAIN = [sys.executable, "-m", "bench.kit.plain_peers"]


@dataclass(frozen=True, slots=True)
class Proxy:
    """A way from the clients of the load to its upstream: through a running peer, or direct."""

    name: str
    target: Target
    running: Running | None = None
    share: float = 1.0  # of the load

    def awake(self) -> contextlib.AbstractContextManager[None]:
        """A turn of this proxy, which is frozen before and after."""
        return self.running.awake() if self.running else contextlib.nullcontext()

    def run(self, load: Load, plan: Plan) -> Outcome:
        """A turn with this plan. Raises `Broken`."""
        with self.awake():
            return load.run(plan, self.target, self.running.cpu if self.running else lambda: 0.0)


def frozen(
    peer: Peer, folder: Path, load: Load, core: int, stack: contextlib.ExitStack, headers: tuple[Header, ...] = ()
) -> Proxy:
    """Start a peer for as long as the stack lasts. Raises `PeerFailed`."""
    running = stack.enter_context(started(peer, folder / peer.name, load.port, core))
    running.freeze()
    return Proxy(peer.name, peer.target(running.port, headers), running, peer.load_share)


def _serve(config: Path) -> list[str]:
    return [sys.executable, "-m", "gateway", "serve", "--config", str(config)]


def gateway(name: str = GATEWAY, server: str = "", home: Path = machine.ROOT) -> Peer:
    """Without keys, open to loopback; `server`: more of its `[server]`; of the checkout `home`."""
    return Peer(name, lambda site: _serve(site.fill("gateway.toml", server=server)), home=home)


def gateway_with_key() -> Peer:
    """It asks for a key with a balance and limits, none of which the load reaches."""
    headers: list[Header] = []  # known when the peer has been started
    limits = ["--models", MODEL, "--rpm", "1000000", "--max-streams", "10000", "--balance-usd", "1000000000"]

    def command(site: Site) -> list[str]:
        serve = _serve(site.fill("gateway.toml", server=""))
        create = [sys.executable, "-m", "gateway", "keys", "create", "--name", "bench", *limits, "--json", *serve[4:]]
        headers[:] = [("Authorization", f"Bearer {json.loads(output_of(WITH_KEY, create))['secret']}")]
        return serve

    return Peer(WITH_KEY, command, headers=headers)


def hedging(hedge_after: str, usual: Running, fast: Running) -> Peer:
    """A gateway in front of two upstreams, the dearer one second."""
    ports = {"usual_port": usual.port, "fast_port": fast.port}
    name = f"gateway-{hedge_after}"
    return Peer(name, lambda site: _serve(site.fill("hedging.toml", hedge_after=hedge_after, **ports)))


def simulated(name: str, script: dict[str, object]) -> Peer:
    """A provider that behaves as told: `rivergate sim`."""
    command = [sys.executable, "-m", "gateway", "sim", "--script", json.dumps(script), "--port"]
    return Peer(name, lambda site: [*command, str(site.port)])


def plain_aiohttp(*loop: str) -> Peer:
    """On asyncio's own loop, as in DESIGN.md section 7; or on "uvloop", for those who know of it."""
    name = "+".join([AIOHTTP, *loop])
    return Peer(name, lambda site: [*PLAIN, "proxy", f"{site.port}", f"{site.upstream_port}", *loop])


def queues() -> Peer:
    """aiohttp with a queue per subscriber."""
    return Peer(AIOHTTP, lambda site: [*PLAIN, "queues", f"{site.port}"])


def nginx_binary() -> str:
    return shutil.which("nginx") or "/usr/sbin/nginx"


def _nginx(site: Site, config: Path) -> list[str]:
    return [nginx_binary(), "-p", str(site.folder), "-e", str(site.folder / "error.log"), "-c", str(config)]


def nginx() -> Peer:
    return Peer(NGINX, lambda site: _nginx(site, site.fill("nginx.conf")))


def nchan() -> Peer:
    def command(site: Site) -> list[str]:
        module = next((path for path in NCHAN_MODULES if Path(path).exists()), None)
        if module is None:
            raise PeerFailed(f"{NCHAN}: its nginx module is not installed (Debian: libnginx-mod-nchan)")
        return _nginx(site, site.fill("nchan.conf", module=module, files=machine.raise_open_files()))

    return Peer(NCHAN, command)


def c_loop() -> Peer:
    """templates/c_fanout.c: the floor, one `send` for each delivery."""

    def command(site: Site) -> list[str]:
        program = str(site.folder / "c_fanout")
        try:
            output_of(C, ["gcc", "-O2", "-o", program, str(TEMPLATES / "c_fanout.c")])
        except OSError as error:
            raise PeerFailed(f"{C}: no gcc: {error}") from error
        return [program, str(site.port)]

    return Peer(C, command)


def litellm(python: str) -> Peer:
    """`python` has `litellm[proxy]`. It builds events of its own and saturates near 1,000 events/s.

    It refuses to start without a master key, so it gets one that lives as long as the bench.
    """
    key = f"sk-{secrets.token_hex(32)}"
    start = [python, "-c", "from litellm.proxy.proxy_cli import run_server; run_server()"]

    def command(site: Site) -> list[str]:
        config = str(site.fill("litellm.yaml", key=key))
        return [*start, "--host", "127.0.0.1", "--port", f"{site.port}", "--num_workers", "1", "--config", config]

    headers = [("Authorization", f"Bearer {key}")]
    return Peer(LITELLM, command, ContentCheck, load_share=0.02, start_seconds=120.0, headers=headers)


def versions(*names: str) -> dict[str, str]:
    """Versions of packages and of the programs `nginx`, `nchan` and `gcc`; "absent" for what is not installed."""
    asked = {
        NGINX: (nginx_binary(), "-v"),
        NCHAN: ("dpkg-query", "-W", "-f", "${Version}", f"libnginx-mod-{NCHAN}"),
        "gcc": ("gcc", "-dumpfullversion"),
    }
    told = {name: machine.told(*asked[name]).rpartition("/")[2] or "absent" for name in names if name in asked}
    return machine.versions(*(name for name in names if name not in asked)) | told
