"""Shell: an exception as the log tells it: what it is and where it was raised, without values that it quotes.

In: an exception. Out: its traceback as text. The invariant: no value of the request or the answer that was worked on
is told; Python puts such values between quotation marks (`invalid literal for int() with base 10: 'a word'`).
"""

import re
import traceback

MAX_WORDS = 300  # characters of an exception's message
MAX_CHAIN = 5  # exceptions during whose handling the next one was raised
_QUOTED = re.compile(r"""b?'(?:[^'\\]|\\.)*+(?:'|\Z)|b?"(?:[^"\\]|\\.)*+(?:"|\Z)""", re.DOTALL)
_NAMES_CODE = (AttributeError, ImportError, NameError, TypeError)  # what these quote are names in the code


def told(error: BaseException, depth: int = 1) -> str:
    """The traceback of an exception, behind those of the exceptions that led to it."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    chain = "" if before is None or depth >= MAX_CHAIN else f"{told(before, depth + 1)}\n\nand then:\n\n"
    place = "".join(traceback.format_tb(error.__traceback__))
    head = f"Traceback (most recent call last):\n{place}" if place else ""
    words = _words(error)
    return f"{chain}{head}{type(error).__qualname__}{': ' * bool(words)}{words}"


def _words(error: BaseException) -> str:
    """The message of an exception without the values that it quotes."""
    if isinstance(error, KeyError):  # its message is the key
        return ""
    message = str(error)
    words = message if isinstance(error, _NAMES_CODE) else _QUOTED.sub("'...'", message)
    return words[:MAX_WORDS]
