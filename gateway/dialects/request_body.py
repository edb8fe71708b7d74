"""Pure: the body of a request: its bytes, which go upstream as they came, and its value, from which it is checked.

In: the bytes. Out: a `RequestBody`, or a `ClientError` that says what is wrong. A short body is read at once; a long
one in steps (`BodyReading`), between which other work can be done, and its long strings are not made values
(wire/json_outline.py).
"""

import contextlib
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from typing import Any

import orjson

from gateway.dialects.body_changes import BodyChanges, Inner
from gateway.errors import ClientError, InvalidParameter
from gateway.wire import json_text
from gateway.wire.json_dropping import kept_pieces
from gateway.wire.json_members import (
    MAX_MEMBERS,
    Buffer,
    Member,
    Piece,
    exchange,
    joined,
    members_of,
    object_of,
    size,
)
from gateway.wire.json_outline import (
    SMALL_MEMBER_BYTES,
    NotAnObject,
    Outline,
    OutlineReader,
    StrayElement,
    StringObserver,
    TooDeep,
)

MAX_DEPTH = 254  # levels of nesting; upstreams refuse less, and orjson writes no more
SHORT_BYTES = 65536  # a body of this length takes 2 ms at most to read, whatever it holds
# A body of this length takes some milliseconds at most, if it holds no more brackets and commas than these.
MODERATE_BYTES = 262144
MODERATE_BRACKETS, MODERATE_COMMAS = 4096, 16_384
KEPT_WHOLE_BYTES = 16384  # a longer body is not copied for an upstream, and is let go of as soon as one has answered
SENT_AT_ONCE_BYTES = 262144  # of a long body: the kernel takes 0.1 ms to copy so much


class RequestBody:
    """The body of one request, until `release`.

    `document` is its value; of a long body, what its outline holds of it.
    """

    __slots__ = ("_found", "_members", "content", "document", "observer", "outline")

    def __init__(
        self,
        content: Buffer,
        document: dict[str, Any],
        outline: Outline | None = None,
        observer: StringObserver | None = None,
    ) -> None:
        self.content = content
        self.document = document
        self.outline = outline  # of a long body
        self.observer = observer  # saw all strings of a long body
        self._members: Sequence[Member] | None = None
        self._found: dict[Inner, list[Piece]] = {}  # what is left of long members

    @classmethod
    def read(cls, content: Buffer) -> "RequestBody":
        """Read a short body. Raises `ClientError`."""
        try:
            document = orjson.loads(content)
        except ValueError as error:
            document = _read_odd(content, error)
        if not isinstance(document, dict):
            raise ClientError("the body must be a JSON object")
        if len(document) > MAX_MEMBERS:
            raise ClientError(f"the body has more than {MAX_MEMBERS} members")
        if content.count(b"[") + content.count(b"{") > MAX_DEPTH:
            _check_depth(document)
        return cls(content, document)

    def members(self) -> Sequence[Member]:
        """The places of all members. Raises `ClientError` for a nesting so deep that they cannot be found."""
        if self.outline is not None:
            return self.outline.members
        if self._members is None:
            try:
                self._members = members_of(bytes(self.content))
            except ValueError as error:
                raise ClientError(f"the body is not valid JSON: {error}") from None
        return self._members

    def long_member(self, names: Collection[str]) -> str | None:
        """The first of these members that may be longer than what was made a value of it; None: no member is."""
        for member in self.outline.members if self.outline is not None else ():
            if member.name in names and member.end - member.start > SMALL_MEMBER_BYTES:
                return member.name
        return None

    def exchange(self, changes: Mapping[str, bytes | None]) -> "Content":
        """The body with other values of these members, or without them (None). The rest stays byte by byte."""
        return self.content_of(exchange(len(self.content), self.members(), changes))

    def rewrite(self, own: Mapping[str, bytes | None], changes: BodyChanges) -> "Content":
        """The body with `own` exchanged as by `exchange`, and then with an upstream's changes.

        A member that neither names keeps its very bytes; of a name that stands twice, the last one stays.
        """
        values: dict[str, Piece] = {member.name: (member.start, member.end) for member in self.members()}
        for name, value in own.items():
            if value is not None:
                values[name] = value
            else:
                values.pop(name, None)
        return self.content_of(object_of(changes.apply_to_pieces(values, self._value_of, self._found)))

    def look_for_drops(self, changes: BodyChanges) -> Iterator[None]:
        """Look in short steps for what an upstream's changes drop inside of long members, before `rewrite`."""
        members = self.outline.members if self.outline is not None else ()
        places = {member.name: (member.start, member.end) for member in members}
        for inner in changes.inner_places(places):
            place = inner.place
            if inner not in self._found and isinstance(place, tuple) and place[1] - place[0] > SHORT_BYTES:
                with contextlib.suppress(ValueError):  # then it is read in one step
                    self._found[inner] = yield from kept_pieces(self.content, *place, inner.paths)

    def _value_of(self, piece: Piece) -> Any:
        text = piece if isinstance(piece, bytes) else self.content[piece[0] : piece[1]]
        return json_text.loads_numbers(text, keep_digits=True)

    def content_of(self, pieces: Sequence[Piece]) -> "Content":
        """The bytes of these pieces, joined if they are few."""
        if len(self.content) <= KEPT_WHOLE_BYTES:
            return joined(self.content, pieces)
        return LongContent(self, pieces)

    def release(self) -> None:
        """Forget the bytes and the value: no further upstream will be asked."""
        self.content, self.document, self._members = b"", {}, ()
        if self.outline is not None:
            self.outline, self.observer, self._found = None, None, {}


class LongContent:
    """A long body for one upstream, made of new bytes and of ranges of the body that came."""

    __slots__ = ("_body", "_length", "_pieces")

    def __init__(self, body: RequestBody, pieces: Sequence[Piece]) -> None:
        self._body = body
        self._pieces = pieces
        self._length = size(pieces)

    def __len__(self) -> int:
        return self._length

    def buffers(self) -> Generator[bytes | memoryview, None, None]:
        """The bytes in their order, in buffers of at most `SENT_AT_ONCE_BYTES`; not after the body was released."""
        content = memoryview(self._body.content)
        for piece in self._pieces:
            if isinstance(piece, bytes):
                yield piece
                continue
            start, end = piece
            for at in range(start, end, SENT_AT_ONCE_BYTES):
                yield content[at : min(at + SENT_AT_ONCE_BYTES, end)]


Content = bytes | LongContent


class BodyReading:
    """The reading of one long body, step by step."""

    def __init__(
        self, content: Buffer, lists_of_objects: Collection[str] = (), observer: StringObserver | None = None
    ) -> None:
        """`lists_of_objects`: members that hold nothing but objects if they are lists."""
        self._content, self._observer = content, observer
        self._reader = OutlineReader(content, MAX_DEPTH, lists_of_objects, observer)

    def step(self) -> bool:
        """Read on for some milliseconds; returns whether all is read. Raises `ClientError`."""
        try:
            return self._reader.step()
        except StrayElement as stray:
            param = f"{stray.name}[{stray.index}]"
            raise InvalidParameter(f"{param}: Input should be a valid dictionary", param=param) from None
        except NotAnObject:
            raise ClientError("the body must be a JSON object") from None
        except TooDeep:
            raise _too_deep() from None
        except ValueError as error:
            raise ClientError(f"the body is not valid JSON: {error}"[:300]) from None

    def body(self) -> RequestBody:
        """The body, after the last step. Raises `ClientError`."""
        try:
            outline = self._reader.outline()
        except ValueError as error:  # what is left without its long texts is checked at last
            raise ClientError(f"the body is not valid JSON: {error}"[:300]) from None
        return RequestBody(self._content, outline.document, outline, self._observer)


def is_read_at_once(content: Buffer) -> bool:
    """Whether a body may be read by one call of `RequestBody.read`, which then takes some milliseconds at most."""
    length = len(content)
    return length <= SHORT_BYTES or (
        length <= MODERATE_BYTES
        and content.count(b"[") + content.count(b"{") <= MODERATE_BRACKETS
        and content.count(b",") <= MODERATE_COMMAS
    )


def _read_odd(content: Buffer, fault: ValueError) -> Any:
    """The value of a body with numbers or half surrogate pairs that orjson refuses and many upstreams take."""
    try:
        return json_text.loads_numbers(content)
    except ValueError:
        raise ClientError(f"the body is not valid JSON: {fault}") from None


def _check_depth(document: dict[str, Any]) -> None:
    try:
        orjson.dumps(document)
    except TypeError as error:
        if "recursion" in str(error).lower():
            raise _too_deep() from None


def _too_deep() -> ClientError:
    return ClientError(f"the body is nested more than {MAX_DEPTH} levels deep")
