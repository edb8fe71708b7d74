"""Pure: the script of a simulated provider: its behaviour as one frozen value that is read from JSON.

In: a mapping of field names. Out: a `Script`, or a `ValueError` that names the field at fault.
A `Script` that exists is valid: every way of building one passes the same checks.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

OMITTABLE = ("created", "model", "index", "finish_reason", "role", "id", "object", "event")


@dataclass(frozen=True, slots=True)
class Script:
    """The behaviour of a provider. `*_after` count content tokens (text or tool-call fragments); 0: before the first.

    The head and the opening frames go out at `head_ms`; token k of the answer (reasoning first) is due at
    `ttft_ms + k * gap_ms`, and the end is due when one more token would be. Time counts from the request's last byte.
    Where the TTFT varies, the seed and the number of the request decide (`dice.py`).
    """

    ttft_ms: float = 50.0
    ttft_jitter_ms: float = 0.0  # the TTFT is uniform between `ttft_ms` minus and plus this
    slow_share: float = 0.0  # share of the requests that wait `slow_ttft_ms` for the first token, without jitter
    slow_ttft_ms: float = 1000.0
    head_ms: float = 0.0  # when the head is due; also when an error answer is due
    load_ms: float = 0.0  # the first request waits so much longer for head and token, as while a model is loaded
    gap_ms: float = 10.0
    tokens: int = 100
    seed: int = 0
    text: str | None = None  # the text of the answer, sent word by word; null: generated words
    tool_calls: int = 0  # how many tool calls are sent instead of text, with their arguments in fragments
    reasoning_tokens: int = 0
    usage: str = "auto"  # auto: usage is sent if the request asks for it
    stall_after: int | None = None  # silence for ever, with the connection open
    stall_before: str = ""  # silence before the "head", or before the opening frames ("role")
    reset_after: int | None = None  # RST in the middle of the next frame
    close_after: int | None = None  # the body ends as it is framed, but without the closing frames; then FIN
    cut_after: int | None = None  # FIN in the middle of the next frame
    done: bool = True  # whether the terminal event comes
    finish: bool = True  # whether the finish comes
    line_end: str = "\n"
    space: bool = True  # "data: x" or "data:x"
    comments: int = 0  # n: a comment after every n-th content token; 0: no comments
    comment_every_ms: float = 0.0  # the time between comments before the first token; 0: no comments there
    comment: str = "ping"  # the text of the comments
    bom: bool = False
    event_names: bool = False
    pretty: bool = False  # JSON over several data lines
    # The members that are left out, and the `event` lines; a `finish_reason` is left out only if it is null.
    omit: tuple[str, ...] = ()
    null_types: bool = False  # "type": null in tool-call fragments after the first
    finish_in_delta: bool = False
    error_null: bool = False
    status: int = 200
    retry_after: int | None = None  # the `Retry-After` of error answers, in seconds
    error_after: int | None = None  # an error event, then the end of the body, then FIN
    error_first: bool = False
    html_error: bool = False
    json_instead: bool = False  # 200 with a JSON error body
    gzip: bool = False
    body: str = "chunked"
    split: int = 0  # bytes of the body in one write, chunk framing included; 0: each frame in one write
    keep_alive: bool = True
    hold_body_ms: float = 0.0  # the time between the closing frames and the end of the body
    unicode_separators: bool = False  # each token ends with an unescaped U+2028, U+2029 or U+0085, in turn

    def __post_init__(self) -> None:
        """Refuse what cannot be played: a wrong type, a value out of range, a head after the first token."""
        for field in fields(self):
            _check(field.name, field.type, getattr(self, field.name))
        ttft, jitter, slow = self.ttft_ms, self.ttft_jitter_ms, self.slow_ttft_ms
        if self.head_ms > ttft:
            raise ValueError(f"head_ms: must not be above ttft_ms ({ttft:g}), got {self.head_ms:g}")
        if jitter > ttft - self.head_ms:
            limit = f"ttft_ms - head_ms ({ttft - self.head_ms:g})"
            raise ValueError(f"ttft_jitter_ms: must not be above {limit}, got {jitter:g}")
        if self.slow_share and slow < ttft:
            raise ValueError(f"slow_ttft_ms: must not be below ttft_ms ({ttft:g}), got {slow:g}")

    @classmethod
    def parse(cls, mapping: object) -> Self:
        """The defaults with the members of a JSON object laid over them; `ValueError` names what is wrong."""
        return cls().replace(mapping)

    def replace(self, mapping: object) -> Self:
        """This script with the members of a JSON object laid over it; `ValueError` names what is wrong."""
        if not isinstance(mapping, Mapping):
            raise ValueError("a script must be a JSON object")
        unknown = sorted(str(name) for name in mapping if name not in _NAMES)
        if unknown:
            raise ValueError(f"{unknown[0]}: no such field of a script")
        members: dict[str, Any] = {name: getattr(self, name) for name in _NAMES}
        for name, value in mapping.items():
            members[name] = tuple(value) if isinstance(value, list) else value
        return type(self)(**members)

    @property
    def is_error(self) -> bool:
        """Whether the answer is an error from its status on."""
        return self.status != 200 or self.html_error or self.json_instead


_NAMES = frozenset(field.name for field in fields(Script))
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "usage": ("auto", "always", "never", "on_finish", "null_everywhere"),
    "stall_before": ("", "head", "role"),
    "line_end": ("\n", "\r\n", "\r"),
    "body": ("chunked", "close", "length"),
}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_names(value: Any) -> bool:
    return isinstance(value, tuple) and all(name in OMITTABLE for name in value)


_KINDS: Mapping[object, tuple[str, Callable[[Any], bool]]] = {
    float: ("a finite number, 0 or more", _is_number),
    int: ("a whole number, 0 or more", _is_whole),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    str: ("a string", lambda value: isinstance(value, str)),
    int | None: ("a whole number, 0 or more, or null", lambda value: value is None or _is_whole(value)),
    str | None: ("a string or null", lambda value: value is None or isinstance(value, str)),
    tuple[str, ...]: (f"a list of names out of {', '.join(OMITTABLE)}", _is_names),
}


def _check(name: str, kind: object, value: object) -> None:
    expected, accepts = _KINDS[kind]
    if not accepts(value):
        raise ValueError(f"{name}: must be {expected}, got {value!r}")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise ValueError(f"{name}: must be one of {', '.join(map(repr, _CHOICES[name]))}, got {value!r}")
    if name == "comment" and ("\n" in str(value) or "\r" in str(value)):
        raise ValueError(f"comment: must be one line, got {value!r}")
    if name == "slow_share" and float(str(value)) > 1:
        raise ValueError(f"slow_share: must be 0 to 1, got {value!r}")
    if name == "status" and not 200 <= int(str(value)) <= 599:
        raise ValueError(f"status: must be 200 to 599, got {value!r}")
