"""Log lines for people: one line an event, readable, and in colour on a terminal only."""

import io
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.observe import log_text, logs
from gateway.observe.log_text import line

AT = "2026-11-30T00:00:00.000Z"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def written(out: io.StringIO, form: logs.LogFormat = "text") -> str:
    logs.configure("INFO", out, form)
    logging.getLogger("rivergate").warning("attempt failed", extra={"fields": {"upstream": "alpha", "status": 503}})
    return out.getvalue()


def test_a_line_has_its_time_level_event_and_fields() -> None:
    fields = {
        "upstream": "alpha",
        "status": 503,
        "reason": "over its limit",
        "key": None,
        "ready": True,
        "share": 0.5,
    }
    assert line(AT, "warning", "attempt failed", fields, coloured=False) == (
        f"{AT} warning  attempt failed           upstream=alpha status=503 "
        'reason="over its limit" key=- ready=true share=0.5'
    )


def test_lists_and_empty_texts_are_written_as_json() -> None:
    shown = line(AT, "info", "e", {"faults": ["a b"], "text": "", "quoted": 'a"b'}, coloured=False)
    assert shown.endswith('faults=["a b"] text="" quoted="a\\"b"')


def test_an_event_without_fields_has_no_blanks_behind_it() -> None:
    assert line(AT, "info", "stopped", {}, coloured=False) == f"{AT} info     stopped"


def test_a_traceback_follows_indented() -> None:
    assert line(AT, "error", "e", {}, "one\ntwo\x1b", coloured=False) == f"{AT} error    e\n    one\n    two\\x1b"


@given(
    event=st.text(max_size=40),
    fields=st.dictionaries(st.text(max_size=9), st.text(max_size=30) | st.lists(st.text(max_size=9), max_size=3)),
)
def test_nothing_that_is_logged_can_begin_a_line_or_reach_the_terminal(event: str, fields: dict[str, Any]) -> None:
    assert line(AT, "info", event, fields, coloured=False).isprintable()


def test_lines_are_in_colour_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[33m" in written(Terminal())
    assert "\x1b" not in written(io.StringIO())


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), ("TERM", "")])
def test_a_terminal_that_wants_no_colour_gets_none(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    assert "\x1b" not in written(Terminal())


def test_json_is_never_in_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert written(Terminal(), "json").startswith('{"at":')


def test_an_exception_is_told_as_text_too() -> None:
    out = io.StringIO()
    logs.configure("INFO", out, "text")
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("rivergate").error("request %s failed", "r1", exc_info=sys.exc_info())
    first, *rest = out.getvalue().splitlines()
    assert first.endswith("request r1 failed")
    assert rest[-1] == "    ValueError: broken"


def test_the_longest_level_fits_its_column() -> None:
    assert max(map(len, ("debug", "info", "warning", "error", "critical"))) == log_text.LEVEL_COLUMN
