"""Pure: a whole text completion, the answer to a request that is not streamed."""

from typing import Any

from gateway.dialects.choices.document import ChoicesDocument
from gateway.dialects.completions.repair import TextMembers, has_content, repair_completion
from gateway.dialects.completions.samples import text_bytes
from gateway.dialects.completions.shapes import COMPLETION


class CompletionsDocument(ChoicesDocument[TextMembers]):
    """A text completion that strict clients accept."""

    __slots__ = ()

    looks_at = COMPLETION
    _repair = staticmethod(repair_completion)
    _has_content = staticmethod(has_content)
    _text_bytes = staticmethod(text_bytes)

    @staticmethod
    def _echoed_bytes(identity: TextMembers, /) -> int:
        return identity.echoed_bytes

    @staticmethod
    def _body(choice: dict[str, Any], /) -> dict[str, Any]:
        return choice
