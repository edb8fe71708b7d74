"""What clients publish to a feed: every kind of body, what subscribers see of it, and what the answer says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cases.cases import cases
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import call
from tests.kit.sse_client import Subscriber

CASES = cases("publications.toml")
MAX_EVENT_BYTES = 36000


@pytest.fixture(scope="module")
def gateway(logs: Path) -> Iterator[LocalGateway]:
    """A gateway with a feed for each case."""
    feed = f"publish = true\nmax_event_bytes = {MAX_EVENT_BYTES}\nremember_ids = 50"
    feeds = [f'[[feeds]]\nname = "f{number}"\n{feed}' for number in range(len(CASES))]
    started = LocalGateway(logs, '[server]\nlisten = "127.0.0.1:0"\n' + "\n".join(feeds))
    yield started
    started.close()


def filled(text: str) -> str:
    """The text with `@100@` as a hundred letters, and `@word*100@` as a hundred words."""
    text = re.sub(r"@([0-9]+)@", lambda found: "x" * int(found[1]), text)
    return re.sub(r"@([^@]+)\*([0-9]+)@", lambda found: found[1] * int(found[2]), text)


def sent(case: dict[str, Any]) -> bytes:
    return bytes.fromhex(case.get("body_hex", "")) + filled(case.get("body", "")).encode("utf-8")


def seen(gateway: LocalGateway, feed: str, count: int) -> list[list[str]]:
    """The events of the feed: data, name, and the publisher's id if there is one."""
    with Subscriber(gateway.port, f"/v1/feeds/{feed}/events?ids=source") as subscriber:
        events = subscriber.events(count)
    return [[event.data, event.name, *(event.id or "").split("/", 1)[1:]] for event in events]


def as_seen(event: list[str]) -> list[str]:
    """An event of a case with its name, which is `message` if the case has none."""
    return [filled(part) for part in (event if len(event) > 1 else [*event, "message"])]


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.id for case in CASES])
def test_a_body_is_taken_up_to_its_first_fault_and_the_answer_says_how_far(
    gateway: LocalGateway, number: int
) -> None:
    [case] = CASES[number].values
    feed, expected = f"f{number}", [as_seen(event) for event in case.get("events", [])]
    headers = {"Content-Type": case.get("type", "application/json")}
    answer = call(gateway, "POST", f"/v1/feeds/{feed}/events", sent(case), **headers)
    assert answer.status == case.get("status", 202), answer.body
    told = json.loads(answer.body)
    if answer.status != 202:
        error = answer.error()
        assert case.get("says", "") in error["message"]
        assert case.get("param", error["param"]) == error["param"]
        assert case.get("code", error["code"]) == error["code"]
    if answer.status != 415:
        assert told["taken"] == len(expected)
        assert [entry["index"] for entry in told["duplicates"]] == case.get("duplicates", [])
        taken = [entry for index, entry in enumerate(told["positions"]) if index not in case.get("duplicates", [])]
        assert [entry.partition("-")[2] for entry in taken] == [str(seq) for seq in range(len(expected))]
    assert seen(gateway, feed, len(expected)) == expected
    listed = json.loads(call(gateway, "GET", "/v1/feeds").body)["data"]
    [described] = [entry for entry in listed if entry["id"] == f"feed:{feed}"]
    assert (described["events"], described["published"]) == (len(expected), True)
