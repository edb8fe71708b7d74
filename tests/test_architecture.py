"""The architecture page names only files and functions that exist, and it names every package and foundation."""

import ast
import re
from pathlib import Path

import gateway

ROOT = Path(gateway.__file__).parent
PAGE = (ROOT / "README.md").read_text()
NAMED = sorted(set(re.findall(r"\b([\w/]+\.py):([A-Za-z_][\w.]*\w)", PAGE)))
FILES = sorted(set(re.findall(r"\b((?:[\w]+/)*\w+\.py)\b", PAGE)))


def names_in(tree: ast.AST, prefix: str = "") -> set[str]:
    """The dotted names of the classes, functions and methods of a module."""
    found = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                found |= names_in(node, f"{prefix}{node.name}.")
    return found


def place_of(name: str) -> Path:
    return (ROOT.parent if name.startswith("tests/") else ROOT) / name


def test_every_function_that_the_page_names_exists() -> None:
    assert len(NAMED) > 40
    missing = [
        f"{file}:{name}" for file, name in NAMED if name not in names_in(ast.parse(place_of(file).read_bytes()))
    ]
    assert missing == []


def test_every_file_that_the_page_names_exists() -> None:
    examples = {
        "request.py",
        "reader.py",
        "closing.py",
        "document.py",
        "errors.py",
        "dialect.py",
    }  # files of a dialect, which the page writes as dialects/NAME/
    missing = [name for name in FILES if not place_of(name).exists() and name not in examples and "NAME" not in name]
    assert missing == []


def test_the_page_has_every_package_and_every_foundation() -> None:
    packages = [f"`{path.name}/`" for path in ROOT.iterdir() if (path / "__init__.py").exists()]
    foundations = [f"`{path.name}`" for path in ROOT.glob("*.py") if not path.name.startswith("__")]
    assert [name for name in (*packages, *foundations) if name not in PAGE] == []


def test_the_glossary_is_in_order_and_defines_each_word_once() -> None:
    table = PAGE.partition("| word | meaning |")[2]
    words = re.findall(r"^\| ([^|]+?) \| [^|]+ \|$", table, re.M)
    assert len(words) > 50
    assert words == sorted(set(words), key=str.lower)
