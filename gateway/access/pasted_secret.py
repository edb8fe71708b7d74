"""Pure: finds what looks like an API key or a token in a text where none belongs, such as a path or a request id.

In: a text that a client has sent. Out: the text with `[redacted]` in place of each secret.
"""

import re

_REDACTED = "[redacted]"
_SECRET = re.compile(
    r"""
    (?<![a-z0-9])(?:rgv?|sk|pk|rk|gsk|xai|hf|pplx|csk|nvapi)(?:[_-]|%(?:25)*(?:5f|2d))[a-z0-9_.%-]{8,}
    | rgv?_[a-z0-9_.-]{24,}                   # a key of ours, whatever stands before it
    | (?<![a-z0-9])AIza[a-z0-9_-]{16,}
    | eyJ[a-z0-9_-]{8,}\.[a-z0-9_.-]{8,}      # a JSON Web Token
    | (?<![a-z0-9])(?:Bearer|Basic)(?:\s|%(?:25)*20|\+)+\S{8,}
    """,
    re.VERBOSE | re.IGNORECASE,
)
# What is a secret even where a name may stand that begins like one, such as that of the model `xai-grok-4-fast`.
_CERTAIN = re.compile(
    r"rgv?_[A-Za-z0-9_.-]{24,}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"
    r"|(?<![A-Za-z0-9])(?:sk|pk|rk|gsk|xai|hf|pplx|csk|nvapi)[_-](?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{20,}"
    r"|(?<![A-Za-z0-9])AIza[\w-]{30,}",
    re.ASCII,
)


def is_certain_secret(text: str) -> bool:
    """Whether a part of the text is a secret, and no name that only begins like one."""
    return _CERTAIN.search(text) is not None


def without_secrets(text: str) -> str:
    """The text without what looks like a secret: of the gateway, or of a provider."""
    return _SECRET.sub(_REDACTED, text)


def shows_secret(text: str) -> bool:
    """Whether a part of the text looks like a secret."""
    return _SECRET.search(text) is not None
