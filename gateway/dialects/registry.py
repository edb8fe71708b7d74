"""Wiring: the dialects that this gateway speaks. A new dialect is a package beside `chat/` and a line here."""

from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import Dialect
from gateway.dialects.responses.dialect import RESPONSES

DIALECTS: tuple[Dialect, ...] = (CHAT, RESPONSES)  # the first is used where a request names none
