"""Wiring: the gateway of the demo, and the simulated providers behind it, in one process."""

import tempfile
from decimal import Decimal

from gateway.config import Config
from gateway.dialects.registry import DIALECTS
from gateway.run import supervision
from gateway.run.service import Service
from gateway.simulate import Provider, Script

_TRY = """\
rivergate demo: http://127.0.0.1:{port}/v1 in front of two simulated providers (no key, no network)

  curl -N http://127.0.0.1:{port}/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{{"model": "demo", "stream": true, "messages": [{{"role": "user", "content": "Hello"}}]}}'

  and watch it, join it late, resume it:
  curl -s http://127.0.0.1:{port}/v1/streams \\
    -d '{{"model": "demo/slow", "messages": [{{"role": "user", "content": "Hello"}}]}}'
  curl -N http://127.0.0.1:{port}/v1/streams/ID/events
  curl -N http://127.0.0.1:{port}/v1/feeds/ticker/events

  from openai import OpenAI
  client = OpenAI(base_url="http://127.0.0.1:{port}/v1", api_key="demo")
  for chunk in client.chat.completions.create(model="demo", stream=True,
                                              messages=[{{"role": "user", "content": "Hello"}}]):
      print(chunk.choices[0].delta.content or "", end="", flush=True)

  and in other dialects:
  curl -N http://127.0.0.1:{port}/v1/responses -d '{{"model": "demo", "stream": true, "input": "Hello"}}'
  curl -N http://127.0.0.1:{port}/v1/messages \\
    -d '{{"model": "demo", "stream": true, "max_tokens": 99, "messages": [{{"role": "user", "content": "Hello"}}]}}'
  for event in client.responses.create(model="demo", stream=True, input="Hello"): print(event.type)
  ANTHROPIC_BASE_URL=http://127.0.0.1:{port} ANTHROPIC_API_KEY=demo ANTHROPIC_MODEL=demo claude
  codex -m demo -c model_provider=demo -c 'model_providers.demo={{name="demo", wire_api="responses",
    base_url="http://127.0.0.1:{port}/v1"}}'

  dashboard: http://127.0.0.1:{port}/dashboard, or in a terminal: rivergate top --url http://127.0.0.1:{port}
  models: demo (both providers; if one fails, the other answers), demo/slow, demo/broken (falls back)
  Ctrl-C stops it. A line a request:"""

_TEXT = (
    "A river does not wait for the whole rain. It takes each drop as it falls, and every town along its banks sees "
    "the same water pass. That is what a streaming gateway does with tokens: one source, one bed, many banks."
)


async def run(port: int) -> None:
    """Serve until a signal comes. Raises `ConfigError` if the port is taken."""
    fast = await Provider.start(script=Script(ttft_ms=120, gap_ms=25, text=_TEXT), name="swift")
    slow = await Provider.start(script=Script(ttft_ms=900, gap_ms=60, text=_TEXT, seed=1), name="steady")
    broken = await Provider.start(script=Script(status=503), name="broken")
    try:
        with tempfile.TemporaryDirectory(prefix="rivergate-demo-") as folder:
            service = Service(_config(port, folder, fast, slow, broken))
            await supervision.run(service, on_started=lambda: print(_TRY.format(port=service.port), flush=True))
    finally:
        for provider in (fast, slow, broken):
            await provider.close()


def _config(port: int, folder: str, fast: Provider, slow: Provider, broken: Provider) -> Config:
    spoken = list(dict.fromkeys(dialect.speaks for dialect in DIALECTS))
    price = {"input_usd_per_mtok": Decimal("0.15"), "output_usd_per_mtok": Decimal("0.60")}
    return Config.model_validate(
        {
            "server": {
                "listen": f"127.0.0.1:{port}",
                "drain_seconds": 2.0,
                "max_connections": 1000,
                "cors_origins": ["http://localhost:*", "http://127.0.0.1:*"],
            },
            "routing": {"optimize": "priority"},
            "storage": {"path": f"{folder}/rivergate.db"},
            "feeds": [{"name": "ticker", "url": f"{fast.base_url}/events?gap_ms=500", "retain_events": 100}],
            "upstreams": [
                {
                    "name": "broken",
                    "base_url": broken.base_url,
                    "dialects": spoken,
                    "models": [{"id": "demo/broken", **price}],
                },
                {
                    "name": "swift",
                    "base_url": fast.base_url,
                    "dialects": spoken,
                    "models": [{"id": "demo", **price}, {"id": "demo/broken", **price}],
                },
                {
                    "name": "steady",
                    "base_url": slow.base_url,
                    "dialects": spoken,
                    "models": [{"id": "demo", **price}, {"id": "demo/slow", **price}],
                },
            ],
        }
    )
