"""Shell: the table of the clients that the tests run, with the versions that are pinned for them."""

import json
import re
from pathlib import Path

from table import Table, code

ROOT = Path(__file__).parent.parent.parent
TESTS = ROOT / "tests" / "clients"

# Each client as people call it, its package, what it asks for, and the files of its tests.
CLIENTS = (
    (
        "OpenAI's SDK for Python",
        "openai",
        ("chat", "responses", "completions", "embeddings"),
        ("test_openai_python", "test_responses_python", "test_completions_and_embeddings"),
    ),
    (
        "OpenAI's SDK for JavaScript",
        "npm openai",
        ("chat", "responses", "completions", "embeddings"),
        ("test_node", "test_responses_node", "test_completions_in_node"),
    ),
    ("Anthropic's SDK for Python", "anthropic", ("messages",), ("test_anthropic_python",)),
    ("Anthropic's SDK for JavaScript", "npm @anthropic-ai/sdk", ("messages",), ("test_anthropic_node",)),
    ("Claude Code", "npm @anthropic-ai/claude-code", ("messages",), ("test_claude_code",)),
    ("Codex", "npm @openai/codex", ("responses",), ("test_codex",)),
    ("Vercel's AI SDK, `anthropic()`", "npm @ai-sdk/anthropic", ("messages",), ("test_ai_sdk",)),
    ("Vercel's AI SDK, `openai()`", "npm @ai-sdk/openai", ("responses",), ("test_responses_frameworks",)),
    ("OpenAI's Agents SDK", "openai-agents", ("responses",), ("test_responses_frameworks",)),
    ("pydantic-ai's `OpenAIResponsesModel`", "pydantic-ai-slim", ("responses",), ("test_responses_frameworks",)),
    (
        "LangChain's `ChatOpenAI(use_responses_api=True)`",
        "langchain-openai",
        ("responses",),
        ("test_responses_frameworks",),
    ),
    ("LangChain's `OpenAI()`", "langchain-openai", ("completions",), ("test_langchain",)),
    ("LangChain's `OpenAIEmbeddings()`", "langchain-openai", ("embeddings",), ("test_langchain",)),
    ("Auriko's SDK for Python", "auriko", ("chat",), ("test_auriko",)),
)
_PINNED = re.compile(r"^([\w.-]+)(?:\[[\w,-]+\])?==([\w.]+)", re.MULTILINE)
_AGENT = re.compile(r'^PACKAGE, VERSION = "([^"]+)", "([^"]+)"$', re.MULTILINE)


def clients() -> Table:
    """Every client with the dialects that it speaks and its versions. Raises `LookupError` for what is not tested."""
    found, rows = _versions(), []
    for name, package, dialects, files in CLIENTS:
        missing = [file for file in files if not (TESTS / f"{file}.py").exists()]
        if missing:
            raise LookupError(f"{name} has no tests in {missing}")
        rows.append((name, ", ".join(map(code, dialects)), ", ".join(sorted(found[package]))))
    return Table(("client", "dialects", "versions"), rows)


def _versions() -> dict[str, set[str]]:
    """The versions of packages that the tests pin; packages of npm have `npm` before their names."""
    found: dict[str, set[str]] = {}
    for file in (ROOT / "requirements-dev.lock", *sorted(TESTS.glob("*/requirements.txt"))):
        for package, version in _PINNED.findall(file.read_text()):
            found.setdefault(package, set()).add(version)
    npm = json.loads((TESTS / "node" / "package.json").read_text())["dependencies"].items()
    agents = [pair for file in sorted(TESTS.glob("test_*.py")) for pair in _AGENT.findall(file.read_text())]
    for package, version in (*npm, *agents):
        other, _, of_other = version.removeprefix("npm:").rpartition("@")  # "npm:openai@6.49.0": under another name
        found.setdefault(f"npm {other or package}", set()).add(of_other)
    return found
