"""`rivergate publish`: each line of its input arrives once, in order, and what does not is told with its place."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway import config
from gateway.commands.publish_batches import MAX_BATCH_EVENTS, BrokenInput, InputEvent, InputFormat, reader_of
from gateway.commands.publisher import PublishedSoFar, Publisher, Unpublished
from gateway.commands.top_feed import Target
from gateway.errors import ConfigError
from tests.kit.configuration import configuration
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.keyring import Keyring, MadeKey
from tests.kit.raw_upstream import RawUpstream, json_answer
from tests.kit.sse_client import Subscriber

FEEDS = "".join(
    f'[[feeds]]\nname = "{name}"\npublish = true\nretain_events = 10000\n'
    for name in ("lines", "ndjson", "sse", "broken", "large", "process")
)


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    made = Keyring(tmp_path_factory.mktemp("publish"), [])
    made.configuration = configuration([], f'[storage]\npath = "{made.path}"\n') + FEEDS
    made.file.write_text(made.configuration)
    return made


@pytest.fixture(scope="module")
def gateway(logs: Path, keyring: Keyring) -> Iterator[LocalGateway]:
    with keyring.serving(logs) as started:
        yield started


@pytest.fixture(scope="module")
def key(gateway: Gateway, keyring: Keyring) -> MadeKey:
    return keyring.create(publish=True)


def publish(
    gateway: Gateway | str, feed: str, key: MadeKey | None, data: bytes, form: str = "lines"
) -> PublishedSoFar:
    """What is published of this input. Raises what `Publisher.run` raises, with the tally in its notes."""
    publisher = Publisher(
        Target(gateway if isinstance(gateway, str) else gateway.url),
        feed,
        None if key is None else key.secret,
        InputFormat(form),
    )
    reading, writing = os.pipe()

    async def run() -> None:
        sending = asyncio.get_running_loop().run_in_executor(None, write)
        await publisher.run(reading)
        await sending

    def write() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(data)

    try:
        asyncio.run(run())
    except Unpublished as error:
        error.add_note(str(publisher.tally.taken))
        raise
    return publisher.tally


def seen(gateway: Gateway, feed: str, key: MadeKey, count: int) -> list[tuple[str, str]]:
    with Subscriber(gateway.port, f"/v1/feeds/{feed}/events", Authorization=key.bearer) as subscriber:
        return [(event.name, event.data) for event in subscriber.events(count)]


# --- the input


@pytest.mark.parametrize(
    ("form", "data", "expected"),
    [
        ("lines", b"a\n\n b \r\nc", [(b'{"data":"a"}\n', 1), (b'{"data":" b "}\n', 3), (b'{"data":"c"}\n', 4)]),
        ("ndjson", b'{"data": 1}\n  \n{"data": 2}', [(b'{"data": 1}\n', 1), (b'{"data": 2}\n', 3)]),
        ("sse", b": hi\n\ndata: a\n\nevent: e\ndata: b", [(b"data: a\n\n", 1), (b"event: e\ndata: b\n\n", 2)]),
    ],
)
@pytest.mark.parametrize("step", [1, 1000])
def test_the_input_is_cut_into_events_wherever_its_reads_fall(
    form: str, data: bytes, expected: list[tuple[bytes, int]], step: int
) -> None:
    reader = reader_of(InputFormat(form))
    found: list[InputEvent] = []
    for start in range(0, len(data), step):
        found += reader.feed(data[start : start + step])
    found += reader.finish()
    assert found == expected


def test_a_line_that_is_no_text_is_told_by_its_number() -> None:
    reader = reader_of(InputFormat.LINES)
    events = reader.feed(b"a\nb\n\xff\nd\n")
    assert [next(events).number, next(events).number] == [1, 2]
    with pytest.raises(BrokenInput, match="line 3 of the input is not UTF-8"):
        next(events)


# --- to a gateway


def test_lines_events_and_server_sent_events_arrive(gateway: Gateway, key: MadeKey) -> None:
    assert publish(gateway, "lines", key, b"one\ntwo\n").line() == "2 events, 0.0 MB"
    assert seen(gateway, "lines", key, 2) == [("message", "one"), ("message", "two")]
    again = b'{"data": {"n": 1}, "id": "x"}\n{"data": 2, "event": "e", "id": "x"}\n'
    tally = publish(gateway, "ndjson", key, again, "ndjson")
    assert (tally.taken, tally.duplicates) == (1, 1)
    assert seen(gateway, "ndjson", key, 1) == [("message", '{"n": 1}')]
    publish(gateway, "sse", key, b"event: tick\r\ndata: 1\r\ndata: 2\r\n\r\n: end\r\n", "sse")
    assert seen(gateway, "sse", key, 1) == [("tick", "1\n2")]


def test_a_long_input_arrives_whole_and_in_order(gateway: Gateway, key: MadeKey) -> None:
    count = 3 * MAX_BATCH_EVENTS + 7
    tally = publish(gateway, "large", key, b"".join(b"%d\n" % number for number in range(count)))
    assert tally.taken == count
    assert [data for _, data in seen(gateway, "large", key, count)] == [str(number) for number in range(count)]
    assert str(tally.last_position).endswith(f"-{count - 1}")


def test_a_broken_line_is_told_by_its_place_in_the_input_and_the_lines_before_are_taken(
    gateway: Gateway, key: MadeKey
) -> None:
    good = MAX_BATCH_EVENTS + 5
    data = b"\n" + b'{"data": 1}\n' * good + b'{"data": 1\n{"data": 2}\n'
    with pytest.raises(Unpublished) as caught:
        publish(gateway, "broken", key, data, "ndjson")
    assert str(caught.value) == f"line {good + 2} of the input: it is not JSON, from character 11 on"
    assert caught.value.__notes__ == [str(good)]


@pytest.mark.parametrize(
    ("feed", "with_key", "reason"),
    [
        ("nothing", True, "answers 404: there is no feed 'nothing'"),
        ("statistics", True, "answers 400: the events of the feed statistics have a source"),
        ("lines", False, "answers 401: an API key is needed"),
    ],
)
def test_what_the_gateway_refuses_is_told_in_its_words(
    gateway: Gateway, key: MadeKey, feed: str, with_key: bool, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        publish(gateway, feed, key if with_key else None, b"x\n")


@pytest.mark.parametrize(
    "answer",
    [b"[1]", b'{"taken":"1","positions":[],"duplicates":[]}', b'{"positions":[]}', b'{"taken":1,"positions":{}}'],
)
def test_what_is_no_gateway_is_told_as_such(answer: bytes) -> None:
    server = RawUpstream(lambda _: json_answer(202, answer))
    with closing(server), pytest.raises(ConfigError, match="there is no gateway"):
        publish(server.base_url, "lines", None, b"x\n")


def test_words_for_the_terminal_are_spelt_out() -> None:
    words = b'{"error":{"message":"\\u001b]0;title\\u0007\\u001b[31mno"}}'
    with closing(RawUpstream(lambda _: json_answer(403, words))) as server:
        refused = run(server.base_url, "lines", key="rg_x", data=b"a\n")
        assert refused.returncode == 2
        assert refused.stderr.endswith(b"answers 403: [U+001B]]0;title[U+0007][U+001B][31mno\n")


# --- as a process


def run(gateway_url: str, *arguments: str, key: str, data: bytes) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "RIVERGATE_URL": gateway_url, "RIVERGATE_API_KEY": key}
    command = [sys.executable, "-m", "gateway", "publish", *arguments]
    return subprocess.run(command, input=data, capture_output=True, env=environment, timeout=60, check=False)


def test_the_exit_code_says_whether_all_a_part_or_nothing_was_published(gateway: Gateway, key: MadeKey) -> None:
    done = run(gateway.url, "process", "--json", key=key.secret, data=b"a\nb\n")
    assert (done.returncode, done.stderr) == (0, b"")
    told = json.loads(done.stdout)
    assert (told["feed"], told["taken"], told["duplicates"]) == ("process", 2, 0)
    partly = run(gateway.url, "process", "--format", "ndjson", key=key.secret, data=b'{"data": 1}\nx\n')
    assert (partly.returncode, partly.stdout) == (1, b"published to process: 1 events, 0.0 MB\n")
    assert partly.stderr == b"rivergate: line 2 of the input: it is not JSON, from character 1 on\n"
    nothing = run("http://127.0.0.1:9", "process", key=key.secret, data=b"a\n")
    assert (nothing.returncode, nothing.stdout) == (2, b"")
    assert nothing.stderr == b"rivergate: cannot publish to http://127.0.0.1:9: Connection refused\n"


def test_the_variables_of_the_command_are_no_configuration(keyring: Keyring) -> None:
    variables = {"RIVERGATE_URL": "http://127.0.0.1:1", "RIVERGATE_API_KEY": "rg_x"}
    assert config.load(keyring.file, variables) == config.load(keyring.file, {})
