"""Pure: a whole text completion, the answer to a request that is not streamed."""

from typing import Any

from gateway.dialects.choices.document import ChoicesDocument
from gateway.dialects.choices.envelope import SharedMembers
from gateway.dialects.completions.repair import has_content, repair_completion
from gateway.dialects.completions.samples import text_bytes
from gateway.dialects.completions.shapes import COMPLETION


class CompletionsDocument(ChoicesDocument[SharedMembers]):
    """A text completion that strict clients accept."""

    __slots__ = ()

    looks_at = COMPLETION
    _repair = staticmethod(repair_completion)
    _has_content = staticmethod(has_content)
    _text_bytes = staticmethod(text_bytes)

    @staticmethod
    def _body(choice: dict[str, Any], /) -> dict[str, Any]:
        return choice
