"""The endings: one word each, and one place in which everything about them stands."""

import ast
import json
import logging
import re
from pathlib import Path

import pytest

import gateway
from gateway.endings import Blame, Ending
from gateway.http.dashboard import pages
from gateway.observe import logs

ROOT = Path(gateway.__file__).parent
WORDS = {ending.value for ending in Ending}
COLLECTIONS = (ast.Set, ast.List, ast.Tuple, ast.Dict)


def test_an_ending_is_its_word() -> None:
    assert [f"{ending}" for ending in Ending] == [ending.name.lower() for ending in Ending]
    assert json.dumps(Ending.LEFT) == '"left"'


@pytest.mark.parametrize("ending", Ending)
def test_an_ending_is_explained_in_one_sentence(ending: Ending) -> None:
    assert re.fullmatch(r"[A-Z][^|\n]*\.", ending.sentence)
    assert ending.blame in Blame


def test_only_what_went_wrong_at_the_upstream_or_here_is_a_fault() -> None:
    assert {ending.blame for ending in Ending if ending.is_fault} == {Blame.UPSTREAM, Blame.GATEWAY}
    assert not Ending.COMPLETED.is_fault
    assert not Ending.DRAINED.is_fault  # the gateway's doing, and on purpose


def test_no_upstream_is_aborted_that_has_ended_itself_or_that_others_still_read() -> None:
    had_ended = {Ending.COMPLETED, Ending.REFUSED, Ending.UPSTREAM_ERROR, Ending.INTERNAL_ERROR}
    of_one_subscriber = {Ending.LAGGED, Ending.LEFT}
    assert {ending for ending in Ending if not ending.aborts_upstream} == had_ended | of_one_subscriber


def test_only_a_subscriber_that_takes_nothing_is_not_told() -> None:
    assert {ending for ending in Ending if not ending.is_told} == {Ending.LAGGED, Ending.LEFT}


@pytest.mark.parametrize("ending", Ending)
def test_the_line_of_an_ending_has_its_level(ending: Ending, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("rivergate.test")
    caplog.set_level(logging.INFO, logger.name)
    logs.write_ending(logger, "something ended", ending, lambda: {"ending": ending})
    caplog.set_level(logging.ERROR, logger.name)
    logs.write_ending(logger, "something ended", ending, lambda: {"ending": ending})
    [line] = caplog.records
    fields = json.loads(logs.JsonFormatter().format(line))
    assert (fields["level"], fields["event"], fields["ending"]) == (ending.log_level, "something ended", ending.value)


def test_the_page_reads_how_an_ending_is_shown() -> None:
    script = vars(pages)["_contents"]()[pages.ENDINGS].decode()
    kinds = json.loads(script.removeprefix("export const KINDS = ").removesuffix(";\n"))
    assert kinds.keys() == WORDS
    assert {word for word, kind in kinds.items() if kind == "bad"} == {
        member.value for member in Ending if member.is_fault
    }
    assert [word for word, kind in kinds.items() if kind == "good"] == ["completed"]


def words_in(node: ast.AST) -> set[str]:
    """The endings that a collection holds, as words or as members of the enum."""
    found = {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant) and leaf.value in WORDS}
    return found | {
        leaf.attr.lower()
        for leaf in ast.walk(node)
        if isinstance(leaf, ast.Attribute) and isinstance(leaf.value, ast.Name) and leaf.value.id == "Ending"
    }


def test_no_list_of_endings_stands_anywhere_else() -> None:
    lists = {
        f"{path.relative_to(ROOT)}:{node.lineno}": words_in(node)
        for path in sorted(ROOT.rglob("*.py"))
        if path.name != "endings.py"
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, COLLECTIONS) and len(words_in(node)) > 1
    }
    assert lists == {}


def test_no_script_of_the_page_knows_an_ending_by_its_word() -> None:
    for path in sorted(ROOT.rglob("*.js")):
        words = set(re.findall(r'"([a-z_]+)"|\bcounts\.([a-z_]+)', path.read_text()))
        assert not {word for pair in words for word in pair} & (WORDS - {"refused"}), path.name  # an answer's status
