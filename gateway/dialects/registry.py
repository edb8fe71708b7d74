"""Wiring: the dialects that this gateway speaks. A new one is a package beside `chat/` and a line here."""

from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import Dialect

DIALECTS: tuple[Dialect, ...] = (CHAT,)  # the first one is meant where a request does not say which
