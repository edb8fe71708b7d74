"""Pure: plans the steps that play a script as the answer to one request, in any dialect.

In: a script, the facts of a request, the dialect. Out: steps, lazily, each with its offset from the request.
The invariant: a plan's last step, and only the last, is not a `Send`.
"""

import math
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus
from itertools import chain

from gateway.simulate.dialect import SimulatedAnswer, SimulatedDialect
from gateway.simulate.limit import within_limit
from gateway.simulate.script import Script
from gateway.simulate.sse_style import BOM, SseStyle
from gateway.simulate.steps import Close, End, Facts, Reset, Send, Stall, Step
from gateway.simulate.words import answer_digest

LAST_CHUNK = b"0\r\n\r\n"
HTML = b"<!doctype html><title>Bad gateway</title><h1>The simulated provider is unwell</h1>\n"
EVENT_STREAM = "text/event-stream; charset=utf-8"
_GZIP = 16 + zlib.MAX_WBITS  # selects gzip framing, without a date

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class _Cut:
    """A break of the connection after half of this frame."""

    frame: bytes
    then: Close | Reset


def plan(script: Script, facts: Facts, dialect: SimulatedDialect) -> Iterator[Step]:
    """The steps of the answer to a request in this dialect."""
    if facts.keep_alive and not script.keep_alive:
        facts = replace(facts, keep_alive=False)
    if script.stall_before == "head":
        return iter((Stall(0.0),))
    if script.is_error:
        return _refusal(script, facts, dialect)
    script, facts = within_limit(script, facts)
    answer = dialect.answer(script, facts)
    return _streamed(script, facts, answer) if facts.stream else _document(script, facts, dialect, answer)


def whole(status: int, body: bytes, *, keep_alive: bool = True, kind: str = "application/json") -> Iterator[Step]:
    """The steps of a small answer that is due at once, such as a control endpoint's."""
    yield Send(0.0, head(status, _whole_headers(kind, body, keep_alive)) + body)
    yield End(0.0, keep_alive)


def head(status: int, headers: Headers) -> bytes:
    """A response head (RFC 9112 section 4)."""
    known = status in HTTPStatus._value2member_map_
    reason = HTTPStatus(status).phrase if known else "Unknown"
    lines = (f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {status} {reason}\r\n{''.join(lines)}\r\n".encode("latin-1")


def chunk(data: bytes) -> bytes:
    """One transfer chunk (RFC 9112 section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _refusal(script: Script, facts: Facts, dialect: SimulatedDialect) -> Iterator[Step]:
    body = HTML if script.html_error else dialect.error_document(500 if script.status == 200 else script.status)
    kind = "text/html" if script.html_error else "application/json"
    extra = () if script.retry_after is None else (("Retry-After", str(script.retry_after)),)
    return _at_once(script, facts, script.status, kind, body, script.head_ms / 1000, extra)


def _document(script: Script, facts: Facts, dialect: SimulatedDialect, answer: SimulatedAnswer) -> Iterator[Step]:
    """The steps of the answer to a request that is not streamed; faults come when the whole answer is due."""
    at = (script.ttft_ms + answer.count_tokens() * script.gap_ms) / 1000
    if script.stall_after is not None:
        return iter((Stall(at),))
    if script.error_first or script.error_after is not None:
        return _at_once(script, facts, 500, "application/json", dialect.error_document(500), at)
    return _at_once(script, facts, 200, "application/json", answer.document(), at)


def _at_once(
    script: Script, facts: Facts, status: int, kind: str, body: bytes, at: float, extra: Headers = ()
) -> Iterator[Step]:
    if script.gzip:
        compressor = zlib.compressobj(wbits=_GZIP)
        body = compressor.compress(body) + compressor.flush()
        extra = (*extra, ("Content-Encoding", "gzip"))
    headers = chain(_whole_headers(kind, body, facts.keep_alive), extra)
    yield Send(at, head(status, headers))
    breaks = _breaks(script, at)
    if script.stall_before == "role":
        yield Stall(at)
        return
    yield from _pieces(script, Send(at, body[: len(body) // 2] if breaks else body))
    yield breaks or End(at, facts.keep_alive)


def _breaks(script: Script, at: float) -> Close | Reset | None:
    if script.is_error:
        return None
    if script.reset_after is not None:
        return Reset(at)
    return Close(at) if script.cut_after is not None or script.close_after is not None else None


def _whole_headers(kind: str, body: bytes, keep_alive: bool) -> Iterator[tuple[str, str]]:
    yield "Content-Type", kind
    yield "Content-Length", str(len(body))
    if not keep_alive:
        yield "Connection", "close"


def _streamed(script: Script, facts: Facts, answer: SimulatedAnswer) -> Iterator[Step]:
    framing = "close" if script.body == "chunked" and not facts.chunked else script.body
    script = replace(script, body=framing, keep_alive=facts.keep_alive and framing != "close")
    start = script.head_ms / 1000
    yield Send(start, head(200, _stream_headers(script, facts, answer)))
    if script.stall_before == "role":
        yield Stall(start)
    else:
        yield from _encoded(script, _events(script, answer))


def _stream_headers(script: Script, facts: Facts, answer: SimulatedAnswer) -> Iterator[tuple[str, str]]:
    yield "Content-Type", EVENT_STREAM
    yield "Cache-Control", "no-cache"
    yield "x-request-id", f"req-sim-{answer_digest(script, facts)}"
    if script.gzip:
        yield "Content-Encoding", "gzip"
    if script.body == "chunked":
        yield "Transfer-Encoding", "chunked"
    if script.body == "length":
        yield "Content-Length", str(_length(script, answer))
    if not script.keep_alive:
        yield "Connection", "close"


def _length(script: Script, answer: SimulatedAnswer) -> int:
    """The length of the body for its header, which does not count a stall, a reset or a cut of the script."""
    intended = replace(script, stall_after=None, reset_after=None, cut_after=None)
    steps = _encoded(intended, _events(intended, answer))
    return sum(len(step.data) for step in steps if isinstance(step, Send))


def _events(script: Script, answer: SimulatedAnswer) -> Iterator[Step | _Cut]:
    """The frames without HTTP framing, each with the time when it is due, up to the end that the script asks for."""
    start, ttft, gap = script.head_ms / 1000, script.ttft_ms / 1000, script.gap_ms / 1000
    if script.bom:
        yield Send(start, BOM)
    if script.error_first:
        yield Send(ttft, answer.error())
        yield End(ttft, keep_alive=False)
        return
    style, (fault, fault_after) = SseStyle(script), _first_fault(script)
    if script.comment_every_ms:
        yield from _waiting(script, style.comment())
        start = ttft
    for frame in answer.opening():
        yield Send(start, frame)
    reasoning, comments, sent, at = script.reasoning_tokens, script.comments, 0, ttft
    for n, frame in enumerate(chain(answer.reasoning(), answer.content())):
        at = ttft + n * gap
        if sent == fault_after:
            yield from _fail(fault, at, frame, answer)
            return
        yield Send(at, frame, 1)
        sent += n >= reasoning
        if comments and sent and sent % comments == 0:
            yield Send(at, style.comment())
    at = ttft + (reasoning + sent) * gap
    tail = tuple(answer.closing())
    if sent == fault_after:
        yield from _fail(fault, at, next(iter(tail), style.comment()), answer)
        return
    for frame in tail:
        yield Send(at, frame)
    yield End(at + script.hold_body_ms / 1000, script.keep_alive)


def _waiting(script: Script, comment: bytes) -> Iterator[Send]:
    """The comments of the time before the first token; the opening frames come only behind them."""
    span, every = script.ttft_ms - script.head_ms, script.comment_every_ms
    for n in range(math.ceil(span / every)):
        yield Send((script.head_ms + n * every) / 1000, comment)


def _first_fault(script: Script) -> tuple[str, int]:
    faults = {
        "stall": script.stall_after,
        "reset": script.reset_after,
        "cut": script.cut_after,
        "close": script.close_after,
        "error": script.error_after,
    }
    planned = [(name, after) for name, after in faults.items() if after is not None]
    return min(planned, key=lambda fault: fault[1], default=("", -1))


def _fail(fault: str, at: float, frame: bytes, answer: SimulatedAnswer) -> Iterator[Step | _Cut]:
    if fault == "error":
        yield Send(at, answer.error())
    if fault == "stall":
        yield Stall(at)
    elif fault in ("reset", "cut"):
        yield _Cut(frame, Reset(at) if fault == "reset" else Close(at))
    else:
        yield End(at, keep_alive=False)


def _encoded(script: Script, events: Iterable[Step | _Cut]) -> Iterator[Step]:
    """The frames as they go over the wire: compressed, in transfer chunks, split, as the script asks for."""
    compressor = zlib.compressobj(wbits=_GZIP) if script.gzip else None
    chunked = script.body == "chunked"
    plain = not script.split

    def wire(data: bytes) -> bytes:
        if compressor:
            data = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
        return b"%x\r\n%b\r\n" % (len(data), data) if chunked else data

    for event in events:
        if isinstance(event, Send):
            send = Send(event.at, wire(event.data), event.tokens)
            if plain:
                yield send
            else:
                yield from _pieces(script, send)
        elif isinstance(event, _Cut):
            frame = wire(event.frame)
            yield from _pieces(script, Send(event.then.at, frame[: len(frame) // 2]))
            yield event.then
        elif isinstance(event, End):
            rest = compressor.flush() if compressor else b""
            last = (chunk(rest) if chunked and rest else rest) + (LAST_CHUNK if chunked else b"")
            yield from _pieces(script, Send(event.at, last))
            yield event
        else:
            yield event


def _pieces(script: Script, send: Send) -> Iterator[Send]:
    size = script.split or len(send.data)
    for start in range(0, len(send.data), size or 1):
        last = start + size >= len(send.data)
        piece = send.data[start : start + size]
        yield Send(send.at, piece, send.tokens if last else 0, alone=bool(script.split))
