"""Draws the two pictures of the README: the dashboard after eleven minutes of traffic, with an upstream that fails.

`python -m tests.clients.draw_dashboard deploy` writes deploy/dashboard.png and deploy/dashboard-dark.png. The numbers
differ from run to run, the story does not: an upstream becomes slow for two minutes, then another one breaks.
"""

import random
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import ViewportSize, sync_playwright

from tests.clients.conftest import ARGUMENTS, PLACES
from tests.kit.completions import body
from tests.kit.configuration import KEYS, configuration
from tests.kit.dashboard_page import LIVE
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.http_client import call
from tests.kit.upstreams import Upstreams

SECONDS = 640.0  # the timeline shows ten minutes
SIZE: ViewportSize = {"width": 1360, "height": 1130}
PICTURES: Sequence[tuple[Literal["light", "dark"], str]] = (
    ("light", "dashboard.png"),
    ("dark", "dashboard-dark.png"),
)
SECTIONS = '[routing]\noptimize = "priority"\nbreaker_failures = 3\nbreaker_seconds = 15\n'
MODELS = ["claude-sonnet", "gpt-4o", "gpt-4o", "gpt-4o-mini", "llama-3.3-70b"]
SAID = (
    "A weir holds a river back only as long as somebody minds its gates. When the snow melts, the water rises by a "
    "hand's breadth an hour; whoever opens too late has a flood in the meadows, and whoever opens too early has a "
    "dry mill in June. So the keeper reads three gauges: one far upstream, where the tributaries meet, one at the "
    "gate, and one below the last bridge. None of them says much alone. Together they say how long there is left "
    "to decide.\n\n"
)
USUAL: Mapping[str, Mapping[str, Any]] = {
    "openai": {"ttft_ms": 320.0, "ttft_jitter_ms": 140.0, "gap_ms": 42.0, "text": SAID * 3},
    "azure-west": {"ttft_ms": 410.0, "ttft_jitter_ms": 160.0, "gap_ms": 45.0, "text": SAID * 3},
    "anthropic": {"ttft_ms": 520.0, "ttft_jitter_ms": 200.0, "gap_ms": 38.0, "text": SAID * 3},
    "vllm-berlin": {"ttft_ms": 95.0, "ttft_jitter_ms": 40.0, "gap_ms": 24.0, "text": SAID * 3},
}
SERVED = {
    "openai": ["gpt-4o", "gpt-4o-mini"],
    "azure-west": ["gpt-4o"],
    "anthropic": ["claude-sonnet"],
    "vllm-berlin": ["llama-3.3-70b"],
}
# From when until when, in seconds, an upstream does not do as usual.
PHASES: Sequence[tuple[tuple[float, float], str, Mapping[str, Any]]] = (
    ((200.0, 320.0), "openai", {"ttft_ms": 1500.0, "ttft_jitter_ms": 700.0}),
    ((400.0, 470.0), "vllm-berlin", {"status": 503}),
)


class Scene:
    """The gateway, and the upstreams whose behaviour changes with time; traffic until `stop` is set."""

    def __init__(self, upstreams: Upstreams, folder: Path) -> None:
        self.stop = threading.Event()
        self._dice = random.Random(7)
        self._played = {name: upstreams.start(name, **script) for name, script in USUAL.items()}
        served = [(self._played[name], models) for name, models in SERVED.items()]
        self.gateway: Gateway = LocalGateway(folder, configuration(served, SECTIONS), KEYS)
        self.traffic = threading.Thread(target=self._play, name="traffic")
        self.traffic.start()

    def _play(self) -> None:
        began = time.monotonic()
        while not self.stop.wait(self._dice.expovariate(1 / 1.1)):
            now = time.monotonic() - began
            for (start, end), name, script in PHASES:
                self._played[name].follow(**{**USUAL[name], **(script if start <= now < end else {})})
            self._ask(self._dice.choice(MODELS))

    def _ask(self, model: str) -> None:
        answer = body(stream=True) | {"model": model}
        if self._dice.random() < 0.015:
            answer["simulate"] = {"cut_after": 9}
        call(self.gateway, "POST", "/v1/streams", answer)


def draw(gateway: Gateway, folder: Path) -> None:
    """A picture in each scheme."""
    chromium = next(path for path in PLACES if path.exists())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(chromium), args=ARGUMENTS)
        for scheme, name in PICTURES:
            context = browser.new_context(viewport=SIZE, color_scheme=scheme)
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{gateway.port}/dashboard")
            page.wait_for_function(LIVE)
            page.wait_for_timeout(7000)  # so that rates are known and some text has come
            page.screenshot(path=folder / name)
            context.close()
        browser.close()


def main() -> None:
    upstreams = Upstreams()
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(upstreams, Path(folder))
        time.sleep(SECONDS)
        draw(scene.gateway, Path(sys.argv[1]))
        scene.stop.set()
        scene.traffic.join()
        scene.gateway.close()
    upstreams.close()


if __name__ == "__main__":
    main()
