"""Pure: what the body of an upstream's answer means: a stream of chunks, a whole completion, or an error.

In: pieces of the body. Out: calls to a `BodyOwner`, in the same call as the piece that caused them.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from gateway.dialects.chat import reader as chat
from gateway.dialects.chat.repair import Identity, complete_usage, repair_completion
from gateway.errors import BALANCE_SPENT, CostExceeded, RateLimited, RivergateError, UpstreamError, UpstreamRefused
from gateway.wire import json_text, sse

MAX_ERROR_BYTES = 65536  # of an error body; its message is cut far shorter
MAX_COMPLETION_BYTES = 67108864  # of a non-streamed completion, images in base64 included
MAX_HELD_BYTES = sse.MAX_EVENT_BYTES + 1048576  # the first content, be it an image, and what came before it
MAX_RETRY_AFTER = 120  # seconds: openai's SDK does not wait longer, auriko's would wait for ever
MAX_TOLD_VALUE = 80  # characters of a header's value that a message repeats

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_OUR_CREDENTIAL = frozenset({401, 403})  # the message may quote our key: never passed on
_CLIENTS_FAULT = frozenset({400, 413, 422})


class FrameReceiver(Protocol):
    """Takes the frames of the attempt that won. `singly`: one at a time, since it may have enough after each."""

    singly: bool

    def on_frame(self, frame: bytes, chunk: bytes = b"") -> None:
        """The next frame to relay; `chunk`: the same as a transfer chunk, if it came as one."""

    def on_frames(self, frames: list[bytes]) -> None:
        """The next frames, in order; all that one read brought."""


class BodyOwner(Protocol):
    """The attempt, as its body reader sees it."""

    def on_content(self) -> None:
        """The first content-bearing event came (DESIGN.md 1.7)."""

    def on_complete(self) -> None:
        """The completion is over and whole."""

    def on_broken(self, error: RivergateError) -> None:
        """The answer is an error, or cannot be used."""


class BodyReader(Protocol):
    over: bool  # nothing more is told to the owner, and nothing more is relayed

    def feed(self, data: bytes) -> None: ...

    def finish(self) -> None:
        """The body ended, or the connection did."""

    def release(self) -> None:
        """Forget the owner: nothing is told to it any more."""


class _Nobody:
    """Wants to hear nothing any more."""

    def on_content(self) -> None: ...

    def on_complete(self) -> None: ...

    def on_broken(self, error: RivergateError) -> None: ...


_NOBODY = _Nobody()


class StreamBody:
    """A streamed completion: frames before the first content are held, later ones flow to the receiver."""

    __slots__ = (
        "_decoder",
        "_held",
        "_held_bytes",
        "_hold_finish",
        "_owner",
        "_receiver",
        "_singly",
        "chat",
        "content_seen",
        "finish_frame",
        "over",
        "read_events",
    )

    def __init__(self, owner: BodyOwner, identity: Identity, *, hold_finish: bool = False) -> None:
        self._owner: BodyOwner = owner
        self._decoder = sse.BlockDecoder()
        self._receiver: FrameReceiver | None = None
        self._singly = False
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._hold_finish = hold_finish
        self.chat = chat.ChatReader(identity)
        self.content_seen = False
        self.chat.shape.on_frame = self._hold
        self.read_events = 0  # frames that were not on the shape
        self.finish_frame: bytes | None = None  # the last finish, if it is held back to carry the usage
        self.over = False

    def flow_to(self, receiver: FrameReceiver) -> None:
        """Send what was held, and from now on every frame, to the receiver."""
        self._receiver = receiver
        self.chat.shape.on_frame = receiver.on_frame
        self._singly = receiver.singly
        held, self._held = self._held, []
        if held:
            receiver.on_frames(held)

    @property
    def events(self) -> int:
        """A count that moves with every event: it shows that the upstream lives."""
        return self.read_events + self.chat.counts.events

    def feed(self, data: bytes) -> None:
        # A read that is exactly one more text chunk, as nearly all are, needs no cutting into blocks.
        shape = self.chat.shape
        if shape.is_open and (frame := shape.fit(data)) is not None:
            shape.on_frame(frame, b"")
            return
        too_large: sse.EventTooLarge | None = None
        try:
            blocks = self._decoder.feed(data)
        except sse.EventTooLarge as error:
            too_large, blocks = error, error.blocks
        shape.is_open = self._decoder.at_boundary
        frames: list[bytes] = []
        for block in blocks:
            frame = shape.fit(block)
            if frame is not None:
                frames.append(frame)
            else:
                frames = self._read(block, frames)
            if self._singly and frames:
                self._deliver(frames)
                frames = []
            if self.over:
                return
        if frames:
            self._deliver(frames)
        if too_large is not None:
            self._break(f"the upstream sent {too_large}")

    @property
    def feed_chunk(self) -> Callable[[bytes], bool]:
        """Takes a whole transfer chunk if it is one more plain text chunk and nothing else; tells whether it was."""
        return self.chat.shape.take

    def finish(self) -> None:
        if self.over:
            return
        if sse.decode(self._decoder.finish()).data == b"[DONE]" and self.content_seen:
            self._complete()
        elif self.chat.finished:
            self._complete()  # a finish without [DONE] is a clean end
        else:
            when = "in mid-stream" if self.content_seen else "before any content"
            self._break(f"the upstream ended {when}, with neither a finish nor [DONE]")

    def release(self) -> None:
        self._owner = _NOBODY
        self._receiver = None
        self.chat.shape.close()

    def _read(self, block: bytes, frames: list[bytes]) -> list[bytes]:
        """Handle a block that is not plain text; return the frames that are still to be delivered."""
        chunk = self.chat.read(block)
        if chunk.error is not None:
            self._deliver(frames)
            self._break(chunk.error, chunk.quoted)
            return []
        if chunk.done:
            self._deliver(frames)
            if self.content_seen:
                self._complete()
            else:
                self._break("the upstream ended before any content")
            return []
        if chunk.frame is not None:
            self._keep(chunk, chunk.frame, frames)
        if (chunk.content or chunk.finish) and not self.content_seen:
            self.content_seen = True
            self._deliver(frames)
            if not self.over:  # else there was more before it than is held
                self._owner.on_content()
            return []
        return frames

    def _keep(self, chunk: chat.Chunk, frame: bytes, frames: list[bytes]) -> None:
        if self.finish_frame is not None:  # another one follows, so it was not the last
            frames.append(self.finish_frame)
            self.finish_frame = None
        if chunk.finish and self._hold_finish:
            self.finish_frame = frame
        else:
            frames.append(frame)

    def _deliver(self, frames: list[bytes]) -> None:
        self.read_events += len(frames)
        if self._receiver is not None:
            if frames:
                self._receiver.on_frames(frames)
            return
        for frame in frames:
            self._hold(frame)

    def _hold(self, frame: bytes, chunk: bytes = b"") -> None:
        self._held.append(frame)
        self._held_bytes += len(frame)
        if self._held_bytes > MAX_HELD_BYTES:
            self._break(f"the upstream sent {MAX_HELD_BYTES} bytes that nobody could be given")

    def _complete(self) -> None:
        self.over = True
        self._owner.on_complete()

    def _break(self, message: str, quoted: str = "") -> None:
        if not self.over:
            self.over = True
            self._owner.on_broken(UpstreamError(message, quoted=quoted))


class WholeBody:
    """A completion that is not streamed: read to its end, then made acceptable to strict clients.

    `is_spent` is asked with the number of bytes that have come: one that costs too much is not read to its end.
    """

    __slots__ = ("_data", "_identity", "_is_spent", "_owner", "completion", "over", "usage")

    def __init__(self, owner: BodyOwner, identity: Identity, is_spent: Callable[[int], bool] | None = None) -> None:
        self._owner: BodyOwner = owner
        self._identity = identity
        self._is_spent = is_spent
        self._data = bytearray()
        self.completion: dict[str, Any] | None = None
        self.usage: dict[str, Any] | None = None
        self.over = False

    def feed(self, data: bytes) -> None:
        self._data += data
        if self.over:
            return
        if len(self._data) > MAX_COMPLETION_BYTES:
            self.over = True
            self._owner.on_broken(UpstreamError(f"the upstream's answer is over {MAX_COMPLETION_BYTES} bytes"))
        elif self._is_spent is not None and self._is_spent(len(self._data)):
            self.over = True
            self._owner.on_content()  # it is the answer, and is paid for as far as it has come
            self._owner.on_broken(CostExceeded(BALANCE_SPENT))

    def finish(self) -> None:
        if self.over:
            return
        self.over = True
        error = self._parse()
        if error is not None:
            self._owner.on_broken(error)
        else:
            self._owner.on_content()
            self._owner.on_complete()

    def release(self) -> None:
        self._owner = _NOBODY
        self._is_spent = None

    def text_bytes(self) -> int:
        """Length of the answer's choices as JSON, for an estimate of its tokens; of what came, if that was cut."""
        return len(json_text.dumps(self.completion["choices"])) if self.completion else len(self._data)

    def _parse(self) -> UpstreamError | None:
        try:
            completion = json_text.loads(self._data)
        except ValueError:
            return UpstreamError("the upstream's answer is not JSON")
        if not isinstance(completion, dict):
            return UpstreamError("the upstream's answer is not a JSON object")
        if (message := chat.error_message(completion)) is not None:
            return UpstreamError("the upstream reported an error", quoted=message)
        try:
            repair_completion(completion, self._identity)
        except ValueError as problem:
            return UpstreamError(f"the upstream's answer is not a completion: {problem}")
        self.usage = complete_usage(completion.pop("usage", None))
        completion.pop("routing_metadata", None)
        self.completion = completion
        return None


class ErrorBody:
    """An answer that is no completion: its status and its message, in our terms."""

    __slots__ = ("_data", "_expected", "_headers", "_owner", "_status", "over")

    def __init__(self, owner: BodyOwner, status: int, headers: Mapping[str, str], expected: str) -> None:
        self._owner: BodyOwner = owner
        self._status = status
        self._headers = headers
        self._expected = expected
        self._data = bytearray()
        self.over = False

    def feed(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > MAX_ERROR_BYTES:
            self.finish()

    def finish(self) -> None:
        if not self.over:
            self.over = True
            self._owner.on_broken(self._error())

    def release(self) -> None:
        self._owner = _NOBODY

    def _error(self) -> RivergateError:
        body = self._json()
        quoted = (chat.error_message(body) if body is not None else None) or ""
        status = self._status
        if status == 429:
            return RateLimited("over its limit (HTTP 429)", quoted=quoted, retry_after=self._wait())
        if status in _OUR_CREDENTIAL:
            return UpstreamError(f"it refused the gateway's credential (HTTP {status})")
        if status in _CLIENTS_FAULT:
            return _refusal(body, f"the upstream refused the request (HTTP {status})", quoted)
        if 200 <= status < 300:
            kind = self._headers.get("content-type", "nothing").split(";")[0][:MAX_TOLD_VALUE]
            return UpstreamError(f"it answered with {kind} instead of {self._expected}", quoted=quoted)
        return UpstreamError(f"HTTP {status}", quoted=quoted, retry_after=self._wait())

    def _json(self) -> dict[str, Any] | None:
        try:
            body = json_text.loads(self._data)
        except ValueError:
            return None
        return body if isinstance(body, dict) else None

    def _wait(self) -> int | None:
        """`Retry-After` in whole seconds; a date or nonsense is no help to us (RFC 9110 section 10.2.3)."""
        text = self._headers.get("retry-after", "").strip()
        if not (text.isascii() and text.isdigit()):
            return None
        return min(int(text[:9]), MAX_RETRY_AFTER)


def _refusal(body: Mapping[str, Any] | None, message: str, quoted: str) -> UpstreamRefused:
    error = body.get("error") if body else None
    details = error if isinstance(error, dict) else {}
    code, param = details.get("code"), details.get("param")
    return UpstreamRefused(
        message,
        quoted=quoted,
        code=code if isinstance(code, str) and _CODE.fullmatch(code) else None,
        param=param[:MAX_TOLD_VALUE] if isinstance(param, str) else None,
    )
