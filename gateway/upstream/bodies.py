"""Pure: readers of the body of an upstream's answer, which is a stream of events or one whole document.

In: the bytes of the body, read by read. Out: calls to a `BodyOwner`, in the same call as the bytes that caused them.
What an event or a JSON object means is the dialect's business (dialects/dialect.py).
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from gateway.dialects.dialect import AnswerReport, DialectReader, Meaning, UpstreamMessage
from gateway.dialects.learned_shape import Counts
from gateway.dialects.long_event import LONG_BYTES
from gateway.dialects.usage import Usage
from gateway.errors import RivergateError, UpstreamError
from gateway.upstream.blame import blame_report
from gateway.wire import sse

MAX_HELD_BYTES = 9437184  # the events before the first content
# How much work one step is, in objects of JSON that are read in full: 5 ms. Half a kilobyte counts as one more.
STEP_WEIGHT = 128
_WEIGHED_BYTES = 9  # as a shift
MAX_EMPTY_BLOCKS = 10_000  # comments and events that tell nothing, in a row; more are a flood, and no sign of life


Steps = Iterator[None] | None
"""The work on a read that is left to do, step by step; None: all is done."""


class FrameReceiver(Protocol):
    """Takes the frames of the attempt that won.

    `singly`: it has to be given one frame at a time, since it may end the answer after any of them.
    """

    singly: bool

    def on_frame(self, frame: bytes, chunk: bytes = b"") -> None:
        """Take the next frame; `chunk`: the transfer chunk that holds this frame and nothing else, if it came so."""

    def on_frames(self, frames: list[bytes]) -> None:
        """Take the next frames, in order: all that one read brought."""


class BodyOwner(Protocol):
    """The attempt, as its body reader sees it."""

    def on_content(self) -> None:
        """The first event with content came: something that a client waits for."""

    def on_complete(self) -> None:
        """The answer is over and whole; the last frames of a stream have to be asked for, by `closing_frames`."""

    def on_broken(self, error: RivergateError) -> None:
        """The answer is an error, or cannot be used."""


class BodyReader(Protocol):
    """Reads one body, piece by piece."""

    over: bool  # the owner is told nothing more, and nothing more is relayed
    counts: Counts  # the events with content and the bytes of text that were streamed so far

    def feed(self, data: bytes) -> Steps:
        """Take the next bytes. Whoever gets steps has to do them before the next bytes or the end are told."""

    def finish(self) -> Steps:
        """Take the end of the body, or of the connection. Whoever gets steps has to do them."""

    def stop(self) -> None:
        """Tell the owner nothing more, and relay nothing more, not even the rest of a read."""

    def usage(self, prompt_tokens: int) -> Usage:
        """The tokens so far: as the upstream counts them, else our own estimate, which contains `prompt_tokens`."""

    def release(self) -> None:
        """Forget the owner of a body that is over. A later call to the owner would be a fault, and raises."""


class StreamBody:
    """A streamed answer: frames before the first content are held, later ones flow to the receiver."""

    __slots__ = (
        "_decoder",
        "_empty_blocks",
        "_events_before",
        "_held",
        "_held_bytes",
        "_hold_finish",
        "_is_beginning",
        "_last",
        "_max_event_bytes",
        "_owner",
        "_read_events",
        "_reader",
        "_receiver",
        "_shape",
        "_singly",
        "content_seen",
        "counts",
        "finish_frame",
        "over",
    )

    def __init__(
        self,
        owner: BodyOwner,
        reader: DialectReader,
        *,
        hold_finish: bool = False,
        max_event_bytes: int = sse.MAX_EVENT_BYTES,
    ) -> None:
        self._owner = owner
        self._max_event_bytes = max_event_bytes
        self._decoder = sse.BlockDecoder(max_event_bytes, tiny_bytes=sse.TINY_BYTES)
        self._empty_blocks = 0  # how many blocks told nothing since the event with content number `_events_before`
        self._events_before = 0
        self._receiver: FrameReceiver | None = None
        self._singly = False
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._hold_finish = hold_finish
        self._last: list[bytes] = []  # frames that go out with the end, in one send
        self._reader = reader
        self._shape = reader.shape
        self._shape.send_to(self._hold)
        self._read_events = 0  # frames that `_deliver` has taken; `counts.events` moves with all others
        self.counts = reader.counts
        self._is_beginning = True  # all reads so far were found by `read_beginning`
        self.content_seen = False
        self.finish_frame: bytes | None = None  # the last finish, if it is held back to carry the usage
        self.over = False

    def flow_to(self, receiver: FrameReceiver) -> None:
        """Send what was held, and from now on every frame, to the receiver."""
        self._receiver = receiver
        self._shape.send_to(receiver.on_frame)
        self._singly = receiver.singly
        held, self._held = self._held, []
        if held:
            receiver.on_frames(held)

    @property
    def events(self) -> int:
        """A count that moves with every event: it shows that the upstream lives."""
        return self._read_events + self.counts.events

    @property
    def finished(self) -> bool:
        """Whether the answer is whole as it stands, although its body has not ended."""
        return self._reader.finished

    def feed(self, data: bytes) -> Steps:
        if self._is_beginning and not (data := self._begin(data)):
            return None
        # A read that is exactly one more event of the learned shape, as nearly all are, is not cut into blocks.
        shape, tried = self._shape, None
        if shape.is_open:
            if (frame := shape.fit(data)) is not None:
                shape.on_frame(frame, b"")
                return None
            if self.content_seen and (finish := self._reader.read_rest(data)) is not None:
                self._take_known_rest(finish)
                return None
            tried = data
        fault: sse.EventFault | None = None
        try:
            blocks = self._decoder.feed(data)
        except sse.EventFault as error:
            fault, blocks = error, error.blocks
        if shape.is_open is not self._decoder.at_boundary:
            shape.on_boundary(is_open=self._decoder.at_boundary)
        steps = self._take_blocks(blocks, tried, fault)
        return steps if next(steps, self) is not self else None

    def _begin(self, data: bytes) -> bytes:
        """Take the beginning of the answer, if it is known by its bytes; returns what is left of the read."""
        found = self._reader.read_beginning(data) if len(data) <= self._max_event_bytes else None
        if found is None:
            self._is_beginning = False
            return data
        frames, end = found
        self._decoder.pass_over()
        self._shape.on_boundary(is_open=True)
        self._read_events += len(frames)
        self._held += frames
        self._held_bytes += end
        rest = data[end:]
        if self.counts.events:
            self._is_beginning, self.content_seen = False, True
            self._owner.on_content()
        elif rest:
            self._is_beginning = False
        return b"" if self.over else rest

    def _take_blocks(self, blocks: list[bytes], tried: bytes | None, fault: sse.EventFault | None) -> Iterator[None]:
        """Take the blocks of one read. A step ends before the block that would make it long."""
        shape, weight = self._shape, 0
        frames: list[bytes] = []
        for block in blocks:
            if len(block) > LONG_BYTES:
                self._deliver(frames)
                frames, weight = [], 0
                meaning = yield from self._reader.read_in_steps(block)
                yield
                if self.over:
                    return
                frames = self._act_on(meaning, frames)
            elif block is not tried and (frame := shape.fit(block)) is not None:
                frames.append(frame)
            else:
                weight += block.count(b"{") + (len(block) >> _WEIGHED_BYTES)
                if weight > STEP_WEIGHT and block is not blocks[0]:
                    self._deliver(frames)
                    frames, weight = [], 0
                    yield
                    if self.over:
                        return
                meaning = self._reader.read(block)
                frames = self._act_on(meaning, frames)
            if self._singly and frames:
                self._deliver(frames)
                frames = []
            if self.over:
                return
        self._deliver(frames)
        if fault is not None:
            self._break(f"the upstream sent {fault}")

    @property
    def feed_chunk(self) -> Callable[[bytes], bool]:
        """Takes a whole transfer chunk if it is one more event of the learned shape; returns whether it was."""
        return self._shape.take

    def finish(self) -> Steps:
        if self.over:
            return None
        steps = self._finish_in_steps(self._decoder.finish())
        return steps if next(steps, self) is not self else None

    def _finish_in_steps(self, rest: bytes) -> Iterator[None]:
        begins = rest[:LONG_BYTES]
        if (b"error" in begins or begins.lstrip().startswith(b"{")) and not self._reader.finished:
            yield from self._read_rest(rest)
            if self.over:
                return
        # Two incomplete ends are clean ends: a finish without the terminal event, and a terminal event that lacks its
        # blank line.
        if (self.content_seen and self._reader.is_terminal(begins)) or self._reader.finished:
            self._complete()
        else:
            when = "in mid-stream" if self.content_seen else "before any content"
            words = self._reader.last_words
            reason = f"the upstream ended {when}, with {self._reader.unfinished}"
            self._break(reason, "" if words is None else words.text)

    def stop(self) -> None:
        self.over = True

    def usage(self, prompt_tokens: int) -> Usage:
        return self._reader.usage(prompt_tokens)

    def closing_frames(self, report: AnswerReport | None) -> list[bytes]:
        """The frames before the dialect's terminal event: those that came with it, and those that the reader adds."""
        return self._take_last() + self._reader.closing_frames(report, self.finish_frame)

    def break_frames(self, error: RivergateError) -> list[bytes]:
        """The frames that end the stream here with an error."""
        return self._take_last() + self._reader.break_frames(error)

    def deliver_last(self) -> None:
        """Give the receiver the frames that came with the end, since the end itself has to wait."""
        self._deliver(self._take_last())

    def release(self) -> None:
        del self._owner
        self._receiver = None
        self._shape.close()

    def _read_rest(self, rest: bytes) -> Iterator[None]:
        """Take what stands behind the last whole event: a JSON object in place of events, or an error cut short."""
        if len(rest) <= LONG_BYTES:
            meaning = self._reader.read(rest + b"\n\n")
        else:
            meaning = yield from self._reader.read_in_steps(rest)
        if self.over:
            return
        begins_object = rest[:LONG_BYTES].lstrip().startswith(b"{")
        if meaning.told is not None:
            self._break_as_told(meaning.told)
        elif begins_object and meaning.error is not None:
            self._break(meaning.error)
        elif begins_object and (meaning.content or meaning.finish) and meaning.frame is not None:
            self.content_seen = True
            self._deliver([meaning.frame])
            self._owner.on_content()

    def _act_on(self, meaning: Meaning, frames: list[bytes]) -> list[bytes]:
        """Take what a block means that did not fit the shape; return the frames that are still to be delivered."""
        if meaning.error is not None:
            self._deliver(frames)
            if meaning.told is None:
                self._break(meaning.error)
            else:
                self._break_as_told(meaning.told)
            return []
        if meaning.frame is not None:
            self._keep(meaning, meaning.frame, frames)
        elif not meaning.done:
            self._count_empty()
        if (meaning.content or meaning.finish) and not self.content_seen:
            self.content_seen = True
            self._deliver(frames)
            frames = []
            if not self.over:  # it is over if the frames before the content were too many to be held
                self._owner.on_content()
        if meaning.done and not self.over:
            if self._receiver is None or self._singly:
                self._deliver(frames)
            else:
                self._last = frames
            frames = []
            self._end()
        return frames

    def _take_known_rest(self, finish: bytes) -> None:
        """Take a read that is the finish, the usage and the terminal event."""
        if self._hold_finish:
            self.finish_frame = finish
        elif self._singly or self._receiver is None:
            self._deliver([finish])
        else:
            self._last = [finish]
        if not self.over:
            self._end()

    def _count_empty(self) -> None:
        """Count a block that tells nothing, and end an upstream that floods us with such blocks."""
        if self.counts.events != self._events_before:
            self._events_before, self._empty_blocks = self.counts.events, 0
        self._empty_blocks += 1
        if self._empty_blocks > MAX_EMPTY_BLOCKS:
            self._break(f"the upstream sent more than {MAX_EMPTY_BLOCKS} comments and empty events in a row")

    def _keep(self, meaning: Meaning, frame: bytes, frames: list[bytes]) -> None:
        if self.finish_frame is not None:  # another frame follows, so it was not the last one
            frames.append(self.finish_frame)
            self.finish_frame = None
        if meaning.finish and self._hold_finish:
            self.finish_frame = frame
        else:
            frames.append(frame)

    def _deliver(self, frames: list[bytes]) -> None:
        self._read_events += len(frames)
        if self._receiver is not None:
            if frames:
                self._receiver.on_frames(frames)
            return
        for frame in frames:
            self._hold(frame)

    def _take_last(self) -> list[bytes]:
        last, self._last = self._last, []
        return last

    def _hold(self, frame: bytes, chunk: bytes = b"") -> None:
        self._held.append(frame)
        self._held_bytes += len(frame)
        if self._held_bytes > MAX_HELD_BYTES and not self._holds_first_content():
            self._break(f"the upstream sent {MAX_HELD_BYTES} bytes that nobody could be given")

    def _holds_first_content(self) -> bool:
        """Whether the first content, which may be an image, is what makes the held frames many bytes."""
        return self.content_seen and self._held_bytes <= MAX_HELD_BYTES + self._max_event_bytes

    def _end(self) -> None:
        """Take the terminal event."""
        if self.content_seen:
            self._complete()
        else:
            self._break("the upstream ended before any content")

    def _complete(self) -> None:
        if not self.over:
            self.over = True
            self._owner.on_complete()

    def _break(self, message: str, quoted: str = "") -> None:
        if not self.over:
            self.over = True
            self._owner.on_broken(UpstreamError(message, quoted=quoted))

    def _break_as_told(self, message: UpstreamMessage) -> None:
        if not self.over:
            self.over = True
            self._owner.on_broken(blame_report(message, begun=self.content_seen))
