"""The places of an API key in a request: the cases stand in `key_places.toml`."""

import itertools
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from gateway.observe.logs import JsonFormatter
from tests.http.corpus import Case, body, post
from tests.http.two_ways import WAYS, Bench, as_it_was

from .cases import cases

__all__ = ["as_it_was"]  # the fixture that undoes what a service changes in its process


def filled(case: dict[str, Any], keys: dict[str, str | None], *, stream: bool) -> Case:
    fields = [field.format_map(keys) for field in case["fields"]]
    return post(case["name"], body(stream=stream), *fields, key=None)


@pytest.mark.parametrize("case", cases("key_places.toml"))
async def test_a_key_is_found_where_clients_put_it_and_is_told_nowhere(
    tmp_path: Path, case: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets: list[str | None] = []
    async with Bench.open(tmp_path) as bench:
        for way, stream in itertools.product(WAYS, (True, False)):
            keys = {"key": bench.secret(way, "plain"), "other": bench.secret(way, "poor")}
            secrets += keys.values()
            async with bench.connection(way) as exchange:
                answer = await exchange(filled(case, keys, stream=stream))
            if "error" in case:
                assert answer.status == 401
                assert case["error"] in json.loads(answer.body)["error"]["message"]
            else:
                assert answer.status == 200
            caplog.records.append(logging.makeLogRecord({"msg": str(answer)}))
        if "error" not in case:
            assert bench.way.answered == (len(case["fields"]) == 1)
    told = "".join(map(JsonFormatter().format, caplog.records))
    assert "request" in told
    assert [secret for secret in secrets if secret and secret in told] == []
