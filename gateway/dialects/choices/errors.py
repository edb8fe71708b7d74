"""Pure: reads the error objects of upstreams, in any of their usual shapes."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.dialects import error_shapes
from gateway.dialects.dialect import UpstreamMessage
from gateway.wire import json_text

MAX_ERROR_TEXT = 500  # characters of an upstream's message that are passed on

# The field by which the gateway asks for usage, as providers write it: `stream_options`, `streamOptions`, in words.
_USAGE_FIELD = re.compile(r"stream[ _.-]?options|include[ _-]?usage", re.IGNORECASE)

# A refusal of some field: if it names none, it may be the one that the client has not sent.
_UNKNOWN_FIELD = re.compile(
    r"\b(?:unknown|unrecogni[sz]ed|unsupported|unexpected|extra|additional|invalid)\b.{0,20}"
    r"\b(?:fields?|arguments?|parameters?|inputs?|propert(?:y|ies)|keys?)\b",
    re.IGNORECASE,
)
_NAME = re.compile(r"[`'\"]|\w_\w|: *\w")


def read_refusal(body: Mapping[str, Any]) -> UpstreamMessage | None:
    """The message of an answer with an error status, whatever shape it has; None if it holds no words."""
    message = None if "choices" in body else error_shapes.read_refusal(body)
    if message is None:
        return None
    named = _USAGE_FIELD.search(f"{message.param} {message.text}") is not None
    unnamed = not message.param and _UNKNOWN_FIELD.search(message.text) and not _NAME.search(message.text)
    return replace(message, refuses_usage=named or bool(unnamed))


def read_error(body: Mapping[str, Any], *, named: bool = False) -> UpstreamMessage | None:
    """The message of an error object, or None if the body is no error.

    `named`: the event was called `error`, so that any object in it is an error.
    """
    error = body.get("error")
    if not error:
        flat = named or body.get("type") == "error" or body.get("object") == "error"
        if "choices" in body or not (flat or "detail" in body):
            return None
        error = body
    if not isinstance(error, dict):
        return UpstreamMessage(_message_text(error))
    text = _message_text(next((error[key] for key in ("message", "detail", "error") if error.get(key)), None))
    kind = next((kind for key in ("type", "status") if isinstance(kind := error.get(key), str)), "")
    if error is body:
        return UpstreamMessage(text, error.get("code"), error.get("param"), kind=kind)
    text = error_shapes.with_raw_words(text, error)[:MAX_ERROR_TEXT]
    details = error_shapes.details_of(error, text)
    return UpstreamMessage(text, error.get("code"), error.get("param"), details, kind)


def _message_text(message: Any) -> str:
    """The text of an error's message, which may be any JSON value, cut to `MAX_ERROR_TEXT` characters."""
    try:
        text = json_text.dumps(message).decode() if isinstance(message, list | dict) else str(message or "")
    except ValueError:
        text = ""
    # A lone surrogate could not be encoded for the client.
    text = text[:MAX_ERROR_TEXT].encode("utf-8", "replace").decode()
    return text or "the upstream gave no message"
