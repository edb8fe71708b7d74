"""No module knows a dialect but its own package: the words of chat completions stand in no other code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway

ROOT = Path(gateway.__file__).parent
WORDS = (
    "choices",
    "[DONE]",
    "chatcmpl",
    "chat.completion",
    "chat/completions",
    "stream_options",
    "delta",
    "finish_reason",
)
EXACT = ("chat",)  # forbidden only as a whole value, such as a label
AT_HOME = (
    *("dialects/chat/", "dialects/choices/", "dialects/completions/", "dialects/responses/"),
    *(
        "simulate/chat.py",
        "simulate/choices.py",
        "simulate/completions.py",
        "simulate/likeness/",
        "simulate/responses.py",
    ),
)
# Modules that may name the words: in a configuration's keys and values, the demo's example, or a script's JSON.
TEXTS = ("config/sections.py", "config/dialect_advice.py", "commands/demo_gateway.py", "simulate/script.py")

# The events of messages have a member of the same name as those of chat completions; their other words are their own.
MESSAGES_AT_HOME = ("dialects/messages/", "dialects/count_tokens/", "simulate/messages.py")
MESSAGES_WORDS = ("content_block", "message_start", "message_stop", "message_delta", "text_delta", "input_json")

MODULES = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.rglob("*.py"))]
FOREIGN = [name for name in MODULES if not name.startswith((*AT_HOME, *MESSAGES_AT_HOME, *TEXTS))]


def constants(tree: ast.Module) -> Iterator[str]:
    """The strings and bytes of a module's code, without docstrings."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in docstrings:
            if isinstance(node.value, str):
                yield node.value
            elif isinstance(node.value, bytes):
                yield node.value.decode("latin-1")


def named_in(name: str) -> list[str]:
    """The words of chat completions in the code of a module."""
    found = list(constants(ast.parse((ROOT / name).read_bytes())))
    return [text for text in found if text in EXACT or any(word in text for word in WORDS)]


@pytest.mark.parametrize("name", FOREIGN)
def test_no_module_names_what_only_chat_completions_have(name: str) -> None:
    assert named_in(name) == []


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith(MESSAGES_AT_HOME)])
def test_no_module_names_what_only_messages_have(name: str) -> None:
    found = constants(ast.parse((ROOT / name).read_bytes()))
    assert [text for text in found if any(word in text for word in MESSAGES_WORDS)] == []


def test_the_files_that_may_name_them_are_there() -> None:
    assert all((ROOT / name).exists() for name in (*AT_HOME, *TEXTS))


def test_the_words_are_found_where_they_are_at_home() -> None:
    at_home = [text for name in MODULES if name.startswith(AT_HOME) for text in named_in(name)]
    assert all(any(word in text for text in at_home) for word in (*WORDS, *EXACT))


def test_only_the_registry_imports_a_dialect_by_its_name() -> None:
    importing = {
        name
        for name in MODULES
        if not name.startswith("dialects/chat/") and b"gateway.dialects.chat" in (ROOT / name).read_bytes()
    }
    assert importing == {"dialects/registry.py"}
