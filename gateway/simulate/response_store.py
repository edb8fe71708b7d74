"""Pure: the responses that a simulated provider keeps, so that clients can ask for them again by their ids.

In: the script and the facts of each response that is not `store: false`. Out: its JSON, made when it is asked for.
The invariant: only the newest `MAX_KEPT` responses are kept, and none with a prompt of more than `MAX_PROMPT_BYTES`.
"""

from collections import OrderedDict
from typing import Any

import orjson

from gateway.errors import ClientError, MethodNotAllowed, NotFound
from gateway.simulate.limit import within_limit
from gateway.simulate.responses import RESPONSES, SimulatedResponse
from gateway.simulate.script import Script
from gateway.simulate.sse_style import Json
from gateway.simulate.steps import Facts

MAX_KEPT = 256
MAX_PROMPT_BYTES = 1 << 20  # a prompt with images would keep megabytes of memory for each response
_BEHIND = {
    "": ("GET", "DELETE"),
    "input_items": ("GET",),
    "cancel": ("POST",),
}  # paths behind an id, and their methods


class ResponseStore:
    """The newest responses by their ids."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[SimulatedResponse, Facts]] = OrderedDict()

    def add(self, script: Script, facts: Facts) -> None:
        """Keep the answer to a request, unless the script makes an error of it."""
        if script.is_error or script.error_first or len(facts.prompt) > MAX_PROMPT_BYTES:
            return
        response = SimulatedResponse(*within_limit(script, facts))
        self._kept[response.id] = (response, facts)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)

    def answer(self, method: str, path: str) -> bytes | None:
        """The JSON of what is at this path; None if no response can have it.

        Raises `NotFound` for an id that is not kept, `MethodNotAllowed`, and `ClientError` for a cancel, since a
        response that nobody asked for in the background cannot be cancelled.
        """
        id_, _, behind = path.removeprefix(f"{RESPONSES.path}/").partition("/")
        if not path.startswith(f"{RESPONSES.path}/") or behind not in _BEHIND:
            return None
        if method not in _BEHIND[behind]:
            raise MethodNotAllowed(f"{path} wants {' or '.join(_BEHIND[behind])}, not {method}.")
        if id_ not in self._kept:
            raise NotFound(f"Response with id '{id_}' not found.")
        response, facts = self._kept[id_]
        if behind == "cancel":
            raise ClientError("Only responses with background=true can be cancelled.")
        if method == "DELETE":
            del self._kept[id_]
            return orjson.dumps({"id": id_, "object": "response", "deleted": True})
        return orjson.dumps(_listed(facts)) if behind else response.document()


def _listed(facts: Facts) -> Json:
    """The page of the input's items, the newest first."""
    _, given = orjson.loads(facts.prompt)
    items = given if isinstance(given, list) else [{"role": "user", "content": given}]
    data = [_item(item, f"msg_in_{number}") for number, item in enumerate(items)][::-1]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"object": "list", "data": data, **ends, "has_more": False}


def _item(item: Any, id_: str) -> Json:
    """One item of an input in its long form: a text becomes a list of parts."""
    if not isinstance(item, dict):
        return {"id": id_, "type": "message", "role": "user", "content": []}
    whole: Json = {"id": id_, "type": "message", "status": "completed", **item}
    if isinstance(text := item.get("content"), str):
        kind = "output_text" if item.get("role") == "assistant" else "input_text"
        whole["content"] = [{"type": kind, "text": text}]
    return whole
