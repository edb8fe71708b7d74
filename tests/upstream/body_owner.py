"""The owner of a body in tests: it writes down the calls that it gets, and takes the frames."""

from typing import Any

from gateway.errors import RivergateError
from gateway.upstream.bodies import StreamBody


class Owner:
    """The owner of a body and the receiver of its frames."""

    def __init__(self, *, flows: bool = True) -> None:
        self.calls: list[str] = []
        self.frames: list[bytes] = []
        self.error: RivergateError | None = None
        self.flows = flows
        self.body: Any = None

    def on_content(self) -> None:
        self.calls.append("content")
        if self.flows and isinstance(self.body, StreamBody):
            self.body.flow_to(self)

    def on_complete(self) -> None:
        self.calls.append("complete")
        if isinstance(self.body, StreamBody):
            self.body.deliver_last()

    def on_broken(self, error: RivergateError) -> None:
        self.calls.append("broken")
        self.error = error

    singly = False

    def on_frame(self, frame: bytes, chunk: bytes = b"") -> None:
        self.on_frames([frame])

    def on_frames(self, frames: list[bytes]) -> None:
        assert frames
        self.frames += frames
