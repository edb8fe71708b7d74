"""Refused requests are logged and counted alike on both ways: the cases stand in `refusals.toml`."""

import asyncio
import json
import logging
import tomllib
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.observe.line_limit import BURST
from tests.http.corpus import Case, post
from tests.http.two_ways import WAYS, Bench, as_it_was
from tests.kit.completions import MODEL, body
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import call, fetch
from tests.kit.raw_upstream import RawUpstream, json_answer

__all__ = ["as_it_was"]  # the fixture that undoes what a service changes in its process

CASES = tomllib.loads(Path(__file__).with_name("refusals.toml").read_text())["case"]
COMPLETION = "POST /v1/chat/completions"
SECRET_WORD = "a secret word"


def request(case: dict[str, Any]) -> Case:
    content = case.get("body")
    if "size" in case:
        content = '{"stream": true}' + " " * (case["size"] - 16)
    options: dict[str, Any] = {"line": case["line"], "length": ""} if "line" in case else {}
    options["key"] = case.get("key", "plain") or None
    return post(
        case["name"], b"" if "line" in case else content and content.encode(), *case.get("fields", ()), **options
    )


async def counts(bench: Bench) -> dict[tuple[str, str], float]:
    """The counts of refusals in `/metrics`, by status and code."""
    async with bench.connection("aiohttp") as exchange:
        answer = await exchange(Case("metrics", b"", key=None, line="GET /metrics HTTP/1.1", length=""))
    families = text_string_to_metric_families(answer.body.decode())
    samples = [sample for family in families for sample in family.samples if family.name == "rivergate_refusals"]
    return {(sample.labels["status"], sample.labels["code"]): sample.value for sample in samples if sample.value}


def lines(caplog: pytest.LogCaptureFixture, event: str = "request refused") -> list[tuple[str, dict[str, Any]]]:
    """The level and the fields of the lines with this event."""
    found = [record for record in caplog.records if record.getMessage() == event]
    return [(record.levelname.lower(), getattr(record, "fields", {})) for record in found]


@pytest.mark.parametrize("way", WAYS)
async def test_a_refusal_is_one_line_and_one_count(
    way: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with Bench.open(tmp_path) as bench:
        for case in CASES:
            caplog.clear()
            before = await counts(bench)
            async with bench.connection(way) as exchange:
                answer = await exchange(request(case))
            after = await counts(bench)
            assert answer.status == case["status"], case["name"]
            counted = (str(case["status"]), case["code"])
            assert after == before | {counted: before.get(counted, 0) + 1}, case["name"]
            [(level, fields)] = lines(caplog)
            sent = [line.partition(": ")[2] for line in answer.heads[-1] if line.startswith("x-request-id")]
            assert [fields["request_id"]] == sent
            assert fields["request"] == case.get("logged", COMPLETION), case["name"]
            assert (level, fields["status"], fields["code"]) == (case["level"], case["status"], case["code"])
            if "key_name" in case:
                assert fields["key_name"] == case["key_name"]
                assert fields["key"].startswith("key_")
            assert SECRET_WORD not in caplog.text + str(lines(caplog))


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "400", "invalid_request"),
        (b"GET / FTP/1.1\r\n\r\n", "400", "invalid_request"),
        (b"GET / HTTP/9.9\r\n\r\n", "505", "http_version_not_supported"),
    ],
)
async def test_bytes_that_are_no_request_are_a_line_and_a_count(
    content: bytes, status: str, code: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with Bench.open(tmp_path) as bench:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.service.port)
        writer.write(content)
        assert f" {status} ".encode() in await reader.readline()
        writer.close()
        assert await counts(bench) == {(status, code): 1}
    [(level, fields)] = lines(caplog)
    assert (level, fields["request"], fields["key"]) == ("info", None, None)


@pytest.mark.parametrize("way", WAYS)
async def test_a_flood_is_counted_and_its_lines_are_limited(
    way: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flood, rare = post("flood", b'{"stream": true'), post("rare", key="empty")
    caplog.set_level(logging.INFO)
    async with Bench.open(tmp_path) as bench:
        async with bench.connection(way) as exchange:
            for _ in range(BURST * 5):
                assert (await exchange(flood)).status == 400
            assert (await exchange(rare)).status == 402
        assert await counts(bench) == {("400", "invalid_request"): BURST * 5, ("402", "insufficient_quota"): 1}
    written = [fields["status"] for _, fields in lines(caplog)]
    assert BURST <= written.count(400) < BURST * 3
    assert written.count(402) == 1  # a flood of one status does not hide another one
    [(level, fields)] = lines(caplog, "requests refused without a line each")
    assert (level, fields) == ("warning", {"by_status": {"400": BURST * 5 - written.count(400)}})


def test_a_code_that_an_upstream_made_up_is_neither_counted_nor_logged(tmp_path: Path) -> None:
    made_up = json.dumps({"error": {"message": "no", "code": "made_up_0123"}}).encode()
    upstream = RawUpstream(lambda _: json_answer(400, made_up), "alpha")
    storage = f'[storage]\npath = "{tmp_path}/r.db"\n'
    gateway = LocalGateway(tmp_path, configuration([(upstream, [MODEL])], storage), KEYS)
    try:
        for streamed in (True, False):
            assert fetch(gateway.port, body(stream=streamed)).status == 400
        metrics = call(gateway, "GET", "/metrics").body.decode()
        assert 'rivergate_refusals_total{code="invalid_request",status="400"} 2.0' in metrics
        assert "made_up" not in metrics + gateway.errors()
    finally:
        gateway.close()
        upstream.close()
