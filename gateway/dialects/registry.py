"""Wiring: the dialects that this gateway speaks. A new dialect is a package beside `chat/` and a line here."""

from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import Dialect

DIALECTS: tuple[Dialect, ...] = (CHAT,)  # the first is used where a request names none
