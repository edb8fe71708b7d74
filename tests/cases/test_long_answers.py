"""No long answer holds the event loop, whatever it holds, and none takes more memory than three times its bytes."""

import gzip
import json
import tomllib
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import MODEL, body
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.http_client import Answer, fetch
from tests.kit.process import GatewayProcess
from tests.kit.raw_upstream import RawUpstream, json_answer
from tests.kit.waiting import wait_for

from .memory_use import memory, reset_peak

pytestmark = pytest.mark.deep

FILE: dict[str, list[Mapping[str, Any]]] = tomllib.loads((Path(__file__).parent / "long_answers.toml").read_text())
CASES, LISTS = FILE["case"], FILE["list"]
# The longest turn of the loop in processor time: most take 5 ms. Read in one go, an answer takes up to 600 ms.
LONGEST_TURN = 0.02
MEMORY_SHARE = 3.0  # of the bytes of an answer
MEMORY_BESIDE = 48 << 20  # for what is read at a time, for the kernel's buffers, and for what the allocator keeps
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": partial(gzip.compress, compresslevel=1),
    "deflate": partial(zlib.compress, level=1),
}
HI = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'
STOP = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


class Stage:
    """A gateway before an upstream that plays the case it is given."""

    def __init__(self) -> None:
        self._response = b""
        self.upstream = RawUpstream(lambda request: self._response, "long")
        self.configuration = configuration([(self.upstream, [MODEL])], "[routing]\nbreaker_failures = 0\n")

    def answer(self, gateway: Gateway, case: Mapping[str, Any]) -> tuple[Answer, int]:
        """The answer of the gateway, and the size of the upstream's."""
        streamed = "event" in case
        content = b"".join(text.encode() * times for text, times in case["event" if streamed else "whole"])
        content = HI + b"data: " + content + b"\n\n" + STOP if streamed else content
        size, kind, more = len(content), "text/event-stream" if streamed else "application/json", ""
        if (coding := case.get("coding")) is not None:
            content, more = CODINGS[coding](content), f"Content-Encoding: {coding}\r\n"
        more += f"Content-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
        self._response = f"HTTP/1.1 {case.get('status', 200)} Told\r\n{more}".encode() + content
        return fetch(gateway.port, body(stream=streamed)), size


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.upstream.close()


@pytest.fixture(scope="module")
def gateway(stage: Stage, logs: Path) -> Iterator[LocalGateway]:
    gateway = LocalGateway(logs, stage.configuration, KEYS)
    yield gateway
    gateway.close()


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_long_answer_is_told_and_holds_up_nobody(
    stage: Stage, gateway: LocalGateway, case: Mapping[str, Any]
) -> None:
    (answer, size), longest = gateway.watch(lambda: stage.answer(gateway, case), LONGEST_TURN)
    if "told" in case:
        assert case["told"] in answer.error()["message"]
    elif "event" in case:
        *_, event, end = answer.events()
        assert end == "[DONE]"
        assert "error" not in event
        assert len(answer.body) >= size
    else:
        assert json.loads(answer.body)["choices"][0]["finish_reason"] == "stop"
        assert len(answer.body) >= min(size, 500)
    assert longest < LONGEST_TURN


@pytest.mark.parametrize("case", LISTS, ids=[case["name"] for case in LISTS])
def test_a_long_list_of_models_is_read_and_holds_up_nobody(logs: Path, case: Mapping[str, Any]) -> None:
    rest = [
        ",".join([text % number if "%" in text else text for number in range(times)]) for text, times in case["of"]
    ]
    question = json_answer(case.get("status", 200), f'{{"data":[{",".join(rest)}]}}'.encode())
    upstream = RawUpstream(lambda request: question, "listing")
    off = configuration([(upstream, [MODEL])])
    gateway = LocalGateway(logs, off, KEYS)

    def discover() -> Mapping[str, Any]:
        gateway.reload(off)
        before = len(gateway.lines())
        gateway.reload(off.replace("[[upstreams.models]]", 'discover = "on"\n[[upstreams.models]]'))
        return wait_for(partial(_told_of_models, gateway, before), "a line about models")

    try:
        line, longest = gateway.watch(discover, LONGEST_TURN)
    finally:
        gateway.close()
        upstream.close()
    assert line.get("listed", line.get("reason")) == case["told"]
    assert longest < LONGEST_TURN


def _told_of_models(gateway: LocalGateway, before: int) -> Mapping[str, Any] | None:
    lines = gateway.lines()[before:]
    return next((line for line in lines if line["event"] in ("models discovered", "models not discovered")), None)


def test_no_long_answer_takes_more_memory_than_three_times_its_bytes(stage: Stage, logs: Path) -> None:
    process = GatewayProcess(logs, stage.configuration, KEYS)
    grown: dict[str, tuple[int, int]] = {}
    try:
        stage.answer(process, {"whole": [["x", 10]]})
        for case in CASES:
            before = reset_peak(process.process.pid)
            _, size = stage.answer(process, case)
            growth = memory(process.process.pid, "VmHWM") - before
            if growth > MEMORY_SHARE * size + MEMORY_BESIDE:
                grown[case["name"]] = (growth, size)
    finally:
        process.close()
    assert grown == {}
