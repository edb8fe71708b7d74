"""The README is true: its commands, its configuration and its table of endpoints; and it stays short."""

import re
from pathlib import Path

import gateway
from gateway import config
from gateway.dialects.registry import DIALECTS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MAX_LINES = 160  # what somebody reads in the first five minutes
ROUTE = re.compile(r'add_(get|post|delete)\(\s*"([^"]+)"')


def routes() -> set[tuple[str, str]]:
    """Every method and path that the sources register, with the parameters as the README writes them."""
    sources = "".join(path.read_text() for path in Path(gateway.__file__).parent.rglob("*.py"))
    found = {(method.upper(), re.sub(r"\{(\w+):[^}]*\}", r"{\1}", path)) for method, path in ROUTE.findall(sources)}
    return found | {("POST", dialect.path) for dialect in DIALECTS}


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= MAX_LINES


def test_the_checks_find_the_test_command() -> None:
    commands = [line for line in README.splitlines() if re.match(r"python3 -m venv .* && \.venv/bin/pytest", line)]
    assert len(commands) == 1
    assert "^python3 -m venv .* && \\.venv/bin/pytest" in (ROOT / ".ci" / "run").read_text()


def test_the_toml_of_the_readme_is_a_valid_configuration(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", README, re.S)
    assert blocks
    for block in blocks:
        file = tmp_path / "rivergate.toml"
        file.write_text(block)
        loaded = config.load(file, {"OPENAI_API_KEY": "sk-test"})
        assert loaded.upstreams


def test_the_table_of_the_endpoints_has_every_path_and_no_other() -> None:
    written = set()
    for cell in re.findall(r"^\| (`(?:GET|POST|DELETE) [^|]*) \|", README, re.M):
        method = cell.split()[0].strip("`")
        written |= {(method, path) for path in re.findall(r"(/[^`]*)`", cell)}
    assert len(routes()) > 20
    assert written == routes()
