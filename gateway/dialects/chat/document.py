"""Pure: a whole chat completion, the answer to a request that is not streamed."""

from typing import Any

from gateway.dialects.chat.repair import Identity, has_content, repair_completion
from gateway.dialects.chat.samples import text_bytes
from gateway.dialects.chat.shapes import COMPLETION
from gateway.dialects.choices.document import ChoicesDocument


class ChatDocument(ChoicesDocument[Identity]):
    """A chat completion that strict clients accept."""

    __slots__ = ()

    looks_at = COMPLETION
    _repair = staticmethod(repair_completion)
    _has_content = staticmethod(has_content)
    _text_bytes = staticmethod(text_bytes)

    @staticmethod
    def _body(choice: dict[str, Any], /) -> dict[str, Any]:
        message: dict[str, Any] = choice["message"]
        return message
