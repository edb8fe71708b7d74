"""Lines of the log that come close together are one write; a warning waits for nothing; the order stays."""

import asyncio
import io
import json
import logging

import pytest

from gateway.endings import Ending
from gateway.observe.logs import BATCH_SECONDS, MAX_BATCH, BatchedHandler, JsonFormatter, write_ending


class Out(io.StringIO):
    """A stream that keeps each write by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[list[str]] = []

    def write(self, text: str) -> int:
        self.writes.append(text.splitlines())
        return len(text)


class Log:
    """A logger of its own, whose lines go through the handler."""

    def __init__(self) -> None:
        self.out = Out()
        self.handler = BatchedHandler(self.out)
        self.handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        self.logger = logging.Logger("a", logging.INFO)
        self.logger.addHandler(self.handler)


@pytest.fixture
def log() -> Log:
    return Log()


async def test_lines_that_come_together_are_one_write_and_come_soon(log: Log) -> None:
    log.logger.info("one")
    write_ending(log.logger, "two", Ending.COMPLETED, dict)
    log.logger.info("%s", "three")
    assert log.out.writes == []
    await asyncio.sleep(2 * BATCH_SECONDS)
    assert log.out.writes == [["INFO one", "INFO two", "INFO three"]]
    log.logger.info("four")
    await asyncio.sleep(2 * BATCH_SECONDS)
    assert log.out.writes[1:] == [["INFO four"]]


async def test_a_warning_is_written_at_once_behind_the_lines_that_waited(log: Log) -> None:
    log.logger.info("one")
    log.logger.warning("two")
    assert log.out.writes == [["INFO one", "WARNING two"]]
    await asyncio.sleep(2 * BATCH_SECONDS)
    assert len(log.out.writes) == 1


async def test_so_many_lines_wait_and_no_more(log: Log) -> None:
    for _ in range(MAX_BATCH):
        assert log.out.writes == []
        log.logger.info("one")
    assert [len(lines) for lines in log.out.writes] == [MAX_BATCH]


async def test_an_exit_writes_what_waits(log: Log) -> None:
    log.logger.info("one")
    log.handler.flush()  # as `logging.shutdown` does
    assert log.out.writes == [["INFO one"]]


async def test_a_line_of_another_thread_is_written_at_once(log: Log) -> None:
    await asyncio.to_thread(log.logger.info, "one")
    assert log.out.writes == [["INFO one"]]


def test_without_an_event_loop_nothing_waits(log: Log) -> None:
    log.logger.info("one")
    assert log.out.writes == [["INFO one"]]


async def test_a_line_that_cannot_be_written_keeps_no_other_from_being_written(
    log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    log.logger.info("%d", "one")
    log.logger.warning("two")
    assert log.out.writes == [["WARNING two"]]
    assert "Logging error" in capsys.readouterr().err


def test_the_fields_of_an_ending_are_not_made_for_a_line_that_is_not_written(log: Log) -> None:
    def fail() -> dict[str, object]:
        raise AssertionError("nobody reads them")

    log.logger.setLevel(logging.WARNING)
    write_ending(log.logger, "one", Ending.COMPLETED, fail)
    assert log.out.writes == []


@pytest.mark.parametrize("value", ["half of a pair: \ud83d", 1 << 70, {"deep": ["\udfff"]}])
def test_what_orjson_refuses_is_written_all_the_same(log: Log, value: object) -> None:
    log.handler.setFormatter(JsonFormatter())
    write_ending(log.logger, "one", Ending.COMPLETED, lambda: {"told": value})
    (lines,) = log.out.writes
    assert json.loads("".join(lines))["told"] == value
