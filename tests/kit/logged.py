"""The log of whatever runs: read as lines of JSON, and waited for."""

import json
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from .waiting import wait_for


class Logged(ABC):
    """Something that runs and writes a log."""

    running: ClassVar[list["Logged"]] = []  # the report of a failed test shows the logs of these objects

    @abstractmethod
    def errors(self) -> str:
        """The whole log so far, as text."""

    def look_alive(self) -> None:  # noqa: B027 - what runs in this process cannot end unseen
        """Raise if the process has ended, so that waiting for its log is in vain."""

    def lines(self) -> list[dict[str, Any]]:
        """The complete lines of the log so far."""
        whole = self.errors().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def wait_for_event(self, event: str, **fields: object) -> dict[str, Any]:
        """The first line of the log with this event and these fields."""

        def look() -> dict[str, Any] | None:
            self.look_alive()
            wanted = {"event": event, **fields}.items()
            return next((line for line in self.lines() if wanted <= line.items()), None)

        return wait_for(look, f"a log line {event} with {fields}")

    def ending(self, request_id: str | None) -> dict[str, Any]:
        """The line that says how a completion ended."""
        return self.wait_for_event("completion ended", request_id=request_id)
