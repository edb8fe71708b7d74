"""Pure: the shapes in which real providers put an error.

In: a status and a message. Out: the JSON of the error's body. A shape is for the statuses for which the table has no
words of the provider.
"""

from collections.abc import Callable
from typing import Any

Shape = Callable[[int, str], Any]


def _kind(status: int) -> str:
    """The `type` that most providers give an error of this status."""
    kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    return kinds.get(status, "invalid_request_error" if status < 500 else "server_error")


def openai(status: int, message: str) -> Any:
    return {"error": {"message": message, "type": _kind(status), "param": None, "code": None}}


def numeric(status: int, message: str) -> Any:
    """OpenAI's shape with the status as its code: vLLM, SGLang, llama.cpp."""
    return {"error": {"message": message, "type": _kind(status), "param": None, "code": status}}


def quoted(status: int, message: str) -> Any:
    """OpenAI's shape with the status as text for a code, and `"None"` for what is missing: LiteLLM."""
    return {"error": {"message": message, "type": "None", "param": "None", "code": str(status)}}


def azure(status: int, message: str) -> Any:
    return {"error": {"code": str(status), "message": message}}


def google(status: int, message: str) -> Any:
    """A list of one error, with Google's name of the status."""
    names = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}
    name = names.get(
        status, "UNAVAILABLE" if status == 503 else "INTERNAL" if status >= 500 else "FAILED_PRECONDITION"
    )
    return [{"error": {"code": status, "message": message, "status": name}}]


def message_only(status: int, message: str) -> Any:
    return {"message": message}


def flat(status: int, message: str) -> Any:
    """Members without an envelope: Mistral, older vLLM."""
    return {"object": "error", "message": message, "type": _kind(status), "param": None, "code": status}


def text(status: int, message: str) -> Any:
    """Only text under `error`: LM Studio."""
    return {"error": message}


def code_and_text(status: int, message: str) -> Any:
    """A sentence as code beside the text: xAI."""
    return {"code": "The service could not handle the request", "error": message}


def openrouter(status: int, message: str) -> Any:
    return {"error": {"message": message, "code": status}}
