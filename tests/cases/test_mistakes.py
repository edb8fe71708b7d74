"""Mistakes that people make in a configuration: what `rivergate check` says of each stands in `mistakes.toml`."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.commands.app import app

CASES = tomllib.loads(Path(__file__).with_name("mistakes.toml").read_text())["case"]
OF_NO_UPSTREAM = ("storage.", "server.", "warning: server.")
RIGHT_URL = 'base_url = "http://127.0.0.1:9/v1"'
RIGHT_MODEL = 'id = "m"\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 2'


def written(case: dict[str, Any]) -> str:
    """The configuration of a case."""
    upstream = case.get("upstream", "")
    lines = upstream if "base_url" in upstream else f"{RIGHT_URL}\n{upstream}"
    made = f'[[upstreams]]\nname = "alpha"\n{lines}\n[[upstreams.models]]\n{case.get("model", RIGHT_MODEL)}\n'
    return f"{case.get('head', '')}\n{case.get('file', made)}\n"


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_check_knows_the_mistake(case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "good.toml"
    file.write_text(written(case), encoding="utf-8", newline=case.get("newline"))
    for name, content in case.get("files", {}).items():
        (tmp_path / name).write_text(content)
    faults, warnings = case.get("faults", []), case.get("warnings", [])
    ended = CliRunner().invoke(app, ["check", str(file)], env=case.get("environ", {}))
    assert ended.exit_code == (2 if faults else 0), ended.output
    wanted = [f"rivergate: {fault}" for fault in faults] + [f"rivergate: warning: {warning}" for warning in warnings]
    lines = ended.stderr.splitlines()
    assert len(lines) == len(wanted), lines
    for line, beginning in zip(lines, wanted, strict=True):
        assert line.startswith(beginning)
        assert line.endswith(" [upstream alpha]") or beginning.partition("rivergate: ")[2].startswith(OF_NO_UPSTREAM)
    assert "sk-1" not in ended.output
    as_json = CliRunner().invoke(app, ["check", str(file), "--json"], env=case.get("environ", {}))
    found = json.loads(as_json.stdout)
    assert (len(found["faults"]), len(found["warnings"])) == (len(faults), len(warnings))
    assert as_json.exit_code == ended.exit_code
