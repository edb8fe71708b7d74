"""The cases of a data file beside the tests, one pytest parameter each."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent


def cases(file: str) -> list[Any]:
    """The cases of `file`, each under its name."""
    listed = tomllib.loads((FOLDER / file).read_text())["case"]
    return [pytest.param(case, id=case["name"]) for case in listed]
