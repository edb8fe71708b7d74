"""The reference pages say what the code says, their configurations are valid, and their links lead somewhere."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from gateway import config
from gateway.access.cors import EXPOSED

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "deploy" / "reference"
REFERENCE = sorted(FOLDER.glob("*.md"))
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "deploy").glob("*.md")), *REFERENCE]
UPSTREAM = '\n[[upstreams]]\nname = "added"\nbase_url = "http://127.0.0.1:9/v1"\n[[upstreams.models]]\nid = "m"\n'


@pytest.fixture(scope="module")
def generator() -> Iterator[ModuleType]:
    """`deploy/reference/generate.py`, a script whose modules lie beside it and in no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield importlib.import_module("generate")


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchors(text: str) -> set[str]:
    """The headings of a page as a renderer names them in links."""
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", text, re.M)
    }


def test_every_table_says_what_the_code_says(generator: ModuleType) -> None:
    assert generator.differences() == []


def test_a_table_that_differs_is_told_and_rewritten(generator: ModuleType) -> None:
    page = (FOLDER / "configuration.md").read_text()
    changed = page.replace("| 50000 | 1 to 1000000 |", "| 40000 | 1 to 1000000 |")
    assert changed != page
    assert generator.rewritten(changed) == page


def test_words_that_were_written_by_hand_are_kept(generator: ModuleType) -> None:
    page = (FOLDER / "errors.md").read_text()
    changed = page.replace("`X-Stream-Key` is in use for another body", "other words")
    assert changed != page
    assert generator.rewritten(changed) == changed


@pytest.mark.parametrize("page", REFERENCE, ids=named)
def test_every_configuration_of_a_page_is_valid(page: Path, tmp_path: Path) -> None:
    for block in re.findall(r"```toml\n(.*?)```", page.read_text(), re.S):
        file = tmp_path / "rivergate.toml"
        file.write_text(block if "[[upstreams]]" in block else block + UPSTREAM)
        variables = dict.fromkeys(re.findall(r'api_key_env = "(\w+)"', block), "sk-test")
        assert config.load(file, variables)


@pytest.mark.parametrize("page", DOCUMENTS, ids=named)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text()), target


def test_every_header_that_browsers_are_shown_is_described() -> None:
    described = (FOLDER / "requests.md").read_text().lower()
    assert [name for name in EXPOSED.split(", ") if f"`{name}" not in described] == []
