"""Configurations as an operator writes them, and the faults that loading one reports."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.config import Config, load
from gateway.errors import ConfigError

COMPLETE = """
[server]
listen = "127.0.0.1:8080"        # or "unix:/run/rivergate.sock"; sockets handed over by systemd win
drain_seconds = 30
cors_origins = []                # e.g. ["https://app.example.com"]; the demo allows localhost
allowed_hosts = []
max_body_bytes = 67108864
max_waiting_bytes = 268435456
max_connections = 50000

[stream]
commit_after_ms = 10000
keepalive_seconds = 15
idle_timeout_ms = 60000          # silence between tokens that ends the stream as "stalled"
max_duration_seconds = 0         # 0 = no limit
abort_grace_ms = 0               # last subscriber gone -> upstream aborted after this long
retain_seconds = 300             # a finished stream can be replayed this long
max_log_bytes = 16777216
subscriber_stall_seconds = 30    # no byte accepted for this long -> closed as "lagged"
usage_event = "auto"             # auto | event | finish | none   (section 5)

[ttft]
budget_ms = 0                    # default budget; 0 = none
hedge_after = "off"              # "off" | "auto" (p95 of the measured TTFT) | a number of milliseconds
hedge_max_share = 0.1            # hedges never exceed this share of requests

[routing]
optimize = "balanced"

[[upstreams]]
name = "alpha"
base_url = "https://api.example.com/v1"
api_key_env = "ALPHA_API_KEY"    # or api_key_file (systemd credentials); absent = no Authorization header
[[upstreams.models]]
id = "gpt-4o"                    # the public name; the same id on several upstreams makes them alternatives
upstream_id = "gpt-4o-2024-11-20"
input_usd_per_mtok = 2.5
output_usd_per_mtok = 10.0

[[feeds]]                        # any SSE source, for dashboards
name = "ticker"
url = "https://feeds.example.com/ticker"
retain_events = 1000
lag = "skip"                     # skip (gap event) | close

[storage]
path = "rivergate.db"           # keys, balances, usage records (SQLite)
"""
SECRET = "sk-Very+Secret/Value=42"
MINIMAL = """
[[upstreams]]
name = "alpha"
base_url = "http://127.0.0.1:9000/v1"
models = [{ id = "m" }]
"""
KEYED = MINIMAL.replace("models", 'api_key_env = "ALPHA_API_KEY"\nmodels')


def configuration(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    path = folder / "rivergate.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, environ or {})


def faults(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """The faults that loading reports, without the names of upstreams and feeds behind them (`owned_faults`)."""
    return [
        re.sub(r" \[(upstream|feed) [A-Za-z0-9._-]+\]$", "", fault) for fault in owned_faults(folder, text, environ)
    ]


def owned_faults(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        configuration(folder, text, environ)
    assert all(fault.isprintable() for fault in caught.value.faults), "a fault is one line"
    return caught.value.faults


def server_fault(folder: Path, line: str) -> str:
    [fault] = faults(folder, f"[server]\n{line}\n{MINIMAL}")
    return fault


def upstream_fault(folder: Path, line: str, environ: Mapping[str, str] | None = None) -> str:
    [fault] = faults(folder, MINIMAL.replace("models", f"{line}\nmodels"), environ)
    return fault
