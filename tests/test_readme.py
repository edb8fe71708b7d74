"""The README says what is so: the configuration table, the two commands, the words of the endings."""

import re
from pathlib import Path

from gateway import config

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_table_of_the_configuration_is_that_of_the_code() -> None:
    expected = [
        f"| `{row.key}` | {row.default} | {row.allowed} | {row.description} |" for row in config.defaults_table()
    ]
    written = re.findall(r"^\| `(?:server|stream|ttft|routing|upstreams\[\]|feeds\[\]|storage)\..*\|$", README, re.M)
    assert written == expected


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
