"""Shell: tables of what a running gateway tells: metrics, of a gateway that is started for it, and log lines."""

import ast
import asyncio
import logging
import re
import sys
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

import gateway
from gateway.completion.answer import Record
from gateway.config import Config
from gateway.endings import Ending
from gateway.observe.metrics import EndedCompletion, Metrics
from gateway.run import settlement
from gateway.run.service import Service
from table import Table, code

SOURCES = Path(gateway.__file__).parent
LOG_METHODS = {name: name for name in ("debug", "info", "warning", "error", "info or warning, by its ending")} | {
    "exception": "error"
}


def metrics() -> Table:
    """Every metric with its kind, its labels and its text."""
    families = {family.name: family for text in _expositions() for family in text_string_to_metric_families(text)}
    rows = []
    for name, family in families.items():
        labels = dict.fromkeys(label for sample in family.samples for label in sample.labels if label != "le")
        shown = name + "_total" * (family.type == "counter")
        rows.append((code(shown), family.type, ", ".join(map(code, labels)), family.documentation))
    return Table(("metric", "kind", "labels", "meaning"), rows)


def _expositions() -> Iterator[str]:
    """What a running gateway tells, and then, for its labels, what one tells after a completion with everything."""
    yield asyncio.run(_scrape())
    told = Metrics(tuple)
    told.on_completion(EndedCompletion("chat", "m", "u", Ending.STOPPED, True, 0.1, 1.0, 1, 2, 1, 0.1))
    yield b"".join(told.exposition()).decode()


async def _scrape() -> str:
    """`/metrics` of a gateway whose one upstream is not there, and was asked, so that all labels are there."""
    with tempfile.TemporaryDirectory() as folder:
        listen = f"unix:{folder}/listen"
        settings = {
            "server": {"listen": listen, "max_connections": 10},
            "storage": {"path": f"{folder}/rivergate.db"},
            "viewers": {"jwks_url": "http://127.0.0.1:9/"},
            "routing": {"breaker_failures": 1},
            "upstreams": [{"name": "u", "base_url": "http://127.0.0.1:9/v1", "models": [{"id": "m"}]}],
            "feeds": [{"name": "f", "url": "http://127.0.0.1:9/"}, {"name": "p", "publish": True}],
        }
        logging.getLogger("rivergate").addHandler(logging.NullHandler())  # else Python prints the warnings
        service = Service(Config.model_validate(settings))
        switch_interval = sys.getswitchinterval()
        await service.start()
        try:
            connector = aiohttp.UnixConnector(listen.removeprefix("unix:"))
            async with aiohttp.ClientSession(connector=connector) as session:
                asked = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
                await session.post("http://localhost/v1/chat/completions", json=asked)
                async with session.get("http://localhost/metrics") as got:
                    return await got.text()
        finally:
            await service.stop()
            sys.setswitchinterval(switch_interval)  # a service changes it for its whole process


def log_lines() -> Table:
    """Every line of the log that the code can write, by its event."""
    found: dict[str, dict[str, None]] = {}  # the levels of each event, an ordered set
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call) and (line := _logged(node)) is not None:
                found.setdefault(line[0], {})[line[1]] = None
    head = ("event", "level", "fields, and what to do")
    return Table(head, [(code(event), " or ".join(levels)) for event, levels in sorted(found.items())], by_hand=True)


def _logged(call: ast.Call) -> tuple[str, str] | None:
    """The event and the level, if this call writes a line."""
    if not isinstance(call.func, ast.Attribute):
        return None
    name, arguments = call.func.attr, call.args
    if name == "write_ending":  # `logs.write_ending(logger, event, ending, fields)`
        name, arguments = "info or warning, by its ending", arguments[1:]
    on_logger = re.search(r"log(ger|s)?\b|getLogger", ast.unparse(call.func.value))
    if name not in LOG_METHODS or not on_logger or not arguments or not isinstance(arguments[0], ast.Constant):
        return None
    event = str(arguments[0].value)
    return re.sub(r"%[sr]", "NAME" if "task" in event else "ID", event), LOG_METHODS[name]


def completion_fields() -> Table:
    """The fields of the line that is written for every completion."""
    record = Record(
        id="",
        request_id="",
        operation="",
        dialect="",
        streamed=True,
        model_id="",
        upstream=None,
        ending=Ending.COMPLETED,
        error=None,
        usage=None,
        cost_usd=None,
        hedge_cost_usd=Decimal(0),
        strategy="",
        ttft_ms=None,
        gap_p50_ms=None,
        duration_ms=0.0,
        attempts=(),
    )
    rows = [(code(name),) for name in settlement.log_fields(record, None)]
    return Table(("field", "meaning"), rows, by_hand=True)
