"""scenarios.py <framework> <base URL>: what a framework makes of responses, scenario by scenario, as JSON.

A framework is a module of this folder with `whole(settings)`, `parts(settings)` and `called(settings)`.
"""

import asyncio
import importlib
import json
import sys
from typing import Any

BASE_URL, KEY = sys.argv[2], "sk-client-0a1b2c3d4e5f"
MODEL = "openai/gpt-4o"
QUICK: dict[str, Any] = {"ttft_ms": 5, "gap_ms": 1, "tokens": 8}

framework: Any = importlib.import_module(sys.argv[1])


def asked(model: str = MODEL, **simulate: Any) -> dict[str, Any]:
    """What to ask for; the provider behaves as `simulate` says."""
    told = {"simulate": {**QUICK, **simulate}} if model == MODEL else {}
    return {"base_url": BASE_URL, "api_key": KEY, "model": model, "extra_body": told}


async def stream(settings: dict[str, Any]) -> list[str]:
    return [part async for part in framework.parts(settings) if part]


async def failure(settings: dict[str, Any], *, streamed: bool) -> dict[str, Any]:
    """The error that a framework raises, and the text that came before it."""
    text = ""
    try:
        if not streamed:
            text = (await framework.whole(settings))["text"]
        else:
            async for part in framework.parts(settings):
                text += part
    except Exception as error:
        return {"status": getattr(error, "status_code", None), "message": str(error), "text": text}
    return {"status": 200, "message": "", "text": text}


async def told() -> dict[str, Any]:
    whole = framework.whole
    return {
        "whole": await whole(asked()),
        "stream": await stream(asked()),
        "thoughts": await stream(asked(reasoning_tokens=3)),
        "call": await framework.called(asked(tool_calls=1)),
        "fallback": await whole(asked("refused-pair")),
        "fallback_streamed": await stream(asked("refused-pair")),
        "hedge_streamed": await stream(asked("slow-pair")),
        "failed": await failure(asked(status=503), streamed=False),
        "failed_streamed": await failure(asked(status=503), streamed=True),
        "error_after": await failure(asked(error_after=3), streamed=True),
        "reset_after": await failure(asked(reset_after=3), streamed=True),
        "close_after": await failure(asked(close_after=3), streamed=True),
    }


print(json.dumps(asyncio.run(told())))
