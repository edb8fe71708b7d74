"""Requests for the events of streams and feeds: good, odd and broken ones.

A line or a field may hold `{ended}`, `{running}`, `{other}` (ids of streams; the last one belongs to another key),
`{epoch}` and `{last}` (of the stream that has ended), and `{token}`, `{expired}`, `{feed_token}` (viewer tokens).
"""

from collections.abc import Iterator

from .corpus import Case

ENDED, RUNNING, FEED = "/v1/streams/{ended}/events", "/v1/streams/{running}/events", "/v1/feeds/quiet/events"
PRELUDE_ENDS = b"\n\r\n"  # the end of the first chunk
LAST_EVENT_IDS = (
    "{epoch}-0", "{epoch}-1", "{epoch}-{last}", "{epoch}-999", "{epoch}-0/source", "otherepoch-3", "nonsense", "",
    "{epoch}", "-", "{epoch}-x", "{epoch}-99999999999999999999", "caf\u00e9",
)  # fmt: skip


def get(
    name: str,
    target: str,
    *more: str,
    key: str | None = "plain",
    method: str = "GET",
    mark: bytes = b"",
    accept: str = "text/event-stream",
) -> Case:
    fields = ("Host: localhost", f"Accept: {accept}", *more)
    return Case(name, b"", key, fields, f"{method} {target} HTTP/1.1", length="", mark=mark)


def positions() -> Iterator[Case]:
    for value in LAST_EVENT_IDS:
        yield get(f"Last-Event-ID: {value}", ENDED, f"Last-Event-ID: {value}")
        yield get(f"last_event_id={value}", f"{ENDED}?last_event_id={value}")
        yield get(f"last_event_id={value}, and from", f"{ENDED}?from=now&last_event_id={value}")
        yield get(f"a feed, Last-Event-ID: {value}", FEED, f"Last-Event-ID: {value}", mark=PRELUDE_ENDS)
    yield get("two positions", f"{ENDED}?last_event_id={{epoch}}-0", "Last-Event-ID: {epoch}-1")
    for value in ("start", "now", "", "later", "NOW", "n%6fw", "now&from=start", "start;", "now#x", "+now"):
        yield get(f"from={value}", f"{ENDED}?from={value}")
        yield get(f"a running stream from={value}", f"{RUNNING}?from={value}", mark=PRELUDE_ENDS)
        yield get(f"a feed from={value}", f"{FEED}?from={value}", mark=PRELUDE_ENDS)
    for value in ("position", "source", "", "both"):
        yield get(f"ids={value}", f"{FEED}?ids={value}", mark=PRELUDE_ENDS)
        yield get(f"a stream, ids={value}", f"{ENDED}?ids={value}")
    for value in (
        "?",
        "?&",
        "?from",
        "?=now",
        "?a=b",
        "?view=x",
        "?a=b&c=d&e=",
        "?a=b&",
        "?&a=b",
        "?a=b=c",
        "?a b",
        "?from=now?x=1",
        "?TOKEN=x",
        "?token",
        "?_=1",
        "?a=http://x/y",
        "?from=start&from=now",
    ):
        yield get(f"query {value}", f"{ENDED}{value}")


def tokens() -> Iterator[Case]:
    for key in (None, "plain", "unknown"):
        for value in ("{token}", "{expired}", "{feed_token}", "", "x", "rgv_x", "{token}x", "x" * 1900, "x" * 3000):
            yield get(f"token={value} with key {key}", f"{ENDED}?token={value}", key=key)
            yield get(f"a feed, token={value} with key {key}", f"{FEED}?token={value}", key=key, mark=PRELUDE_ENDS)
    yield get("a token for another stream", f"{RUNNING}?token={{token}}", key=None, mark=PRELUDE_ENDS)
    yield get("a token, and a position", f"{ENDED}?token={{token}}&last_event_id={{epoch}}-{{last}}", key=None)
    yield get("a wrong token for no feed", "/v1/feeds/nothing/events?token=x", key=None)
    yield get("another feed's token for no feed", "/v1/feeds/nothing/events?token={feed_token}", key=None)
    yield get("a token for no stream", "/v1/streams/st_nothing/events?token={token}", key=None)
    for key in ("revoked", "expired", "narrow", "poor", "empty", "slow", "unknown", "mistyped", "long", "blank"):
        yield get(f"key {key}", ENDED, key=key)
        yield get(f"a feed, key {key}", FEED, key=key, mark=PRELUDE_ENDS)
    yield get("no key", ENDED, key=None)
    yield get("a stream of another key", "/v1/streams/{other}/events")
    yield get("a feed without a key", FEED, key=None)
    for value in ("Basic YTpi", "Bearer", "bearer x", "x", ""):
        yield get(f"Authorization: {value}", ENDED, f"Authorization: {value}", key=None)
    yield get("two keys", ENDED, "Authorization: Bearer x")


def targets() -> Iterator[Case]:
    for path in ("/v1/streams/nothing/events", "/v1/streams//events", "/v1/streams/./events", "/v1/streams/../events",
                 "/v1/streams/a..b/events", "/v1/streams/{ended}/events/", "/v1/streams/{ended}//events",
                 "/v1/streams/{ended}/event", "/v1/streams/%7Bended/events", "/v1/streams/{ended}/ev%65nts",
                 "/v1/streams/a~b/events", "/v1/streams/x%2fevents/events", "/v1/feeds/nothing/events",
                 "/v1/feeds/{ended}/events", "/v1/feeds//events", "/v1/feeds/../events", "/v1/feeds/q%75iet/events",
                 "/v1/feeds/quiet/events#x", "http://gateway/v1/streams/{ended}/events", "/v2/streams/x/events",
                 "/v1/streams/" + "x" * 300 + "/events", "/v1/feeds/" + "x" * 300 + "/events",
                 "/v1/streams/" + "x" * 3000 + "/events", "/v1/feeds/" + "x" * 9000 + "/events"):  # fmt: skip
        yield get(f"GET {path}", path, mark=PRELUDE_ENDS if "quiet" in path or "q%75iet" in path else b"")
    for method in ("HEAD", "POST", "OPTIONS", "DELETE", "get"):
        for path in (ENDED, FEED, "/v1/streams/nothing/events"):
            yield get(f"{method} {path}", path, method=method)
    for version in ("HTTP/1.0", "HTTP/1.2", "http/1.1", "HTTP/2.0", ""):
        yield Case(f"version {version!r}", b"", fields=("Host: a",), line=f"GET {ENDED} {version}", length="")


def channels() -> Iterator[Case]:
    both = "/v1/events?stream={ended}&feed=quiet"
    for more in ("", "&from=now", "&from=feed:quiet:now", "&from=later", "&feed=quiet", "&feed=none",
                 "&stream={other}",
                 "&last_event_id=0123456789ab-7", "&last_event_id={epoch}-1", "&ids=source", "&ids=position", "&x=1",
                 "&stream=", "&stream=%7Bended", "&token=x", "&stream={running}",
                 "&from=feed%3Aquiet%3Anow"):  # fmt: skip
        yield get(f"several, {more}", both + more, mark=PRELUDE_ENDS)
    for query in ("", "?", "?stream={ended}", "?feed=none", "?stream={other}", "?stream={ended}&stream={ended}",
                  "?from=now",
                  "?stream={ended}&from={ended}:now", "?" + "&".join(f"stream=s{number}" for number in range(65)),
                  "/x?stream={ended}", "?stream=a+b", "?streams={ended}"):  # fmt: skip
        yield get(f"channels {query}", f"/v1/events{query}")
    for key in (None, "plain", "unknown"):
        for value in ("{token}", "{expired}", "{feed_token}", "", "x"):
            yield get(f"several, token={value} with key {key}", f"{both}&token={value}", key=key, mark=PRELUDE_ENDS)
        yield get(f"nothing but a token, with key {key}", "/v1/events?token={token}", key=key)
    for method in ("HEAD", "OPTIONS", "DELETE", "get"):
        yield get(f"{method} of several", both, method=method)


def fields() -> Iterator[Case]:
    for value in ("http://good.example", "http://evil.example", "http://localhost", "null", ""):
        yield get(f"Origin: {value}", ENDED, f"Origin: {value}")
        yield get(f"a feed, Origin: {value}", FEED, f"Origin: {value}", mark=PRELUDE_ENDS)
        yield get(f"an error for {value}", f"{ENDED}?from=x", f"Origin: {value}")
        yield get(f"nothing more for {value}", ENDED, f"Origin: {value}", "Last-Event-ID: {epoch}-{last}")
        yield get(f"a viewer at {value}", f"{ENDED}?token={{token}}", f"Origin: {value}", key=None)
    yield get("two Origins", ENDED, "Origin: http://good.example", "Origin: http://good.example")
    for value in ("mine", "x" * 128, "x" * 129, "", "a b"):
        yield get(f"x-request-id: {value}", ENDED, f"x-request-id: {value}")
        yield get(f"an error, x-request-id: {value}", f"{ENDED}?from=x", f"x-request-id: {value}")
    for line in ("Connection: close", "Connection: keep-alive", "Connection: Keep-Alive", "Upgrade: websocket",
                 "Content-Length: 0", "Transfer-Encoding: chunked", "Expect: 100-continue", "Content-Encoding: gzip",
                 "X-A: 1\r\n folded", "X-A: \x00", "Host: a", "X-A", "Accept-Encoding: gzip", "TE: trailers",
                 "Accept: */*", "X-Stream-Key: k", "Content-Length: 00", "Content-Length:", "Transfer-Encoding:",
                 "Connection:", "Connection: Content-Length", "TE: chunked", "Expect:", "X : 1", "X: a\rY: b",
                 "X: caf\u00e9", "X: \x7f", "Transfer_Encoding: chunked", "x-api-key: x", "api-key:",
                 "Last-Event-ID: {epoch}-1\r\nLast-Event-ID: {epoch}-2", "Range: bytes=0-1", "If-None-Match: *",
                 "X-Forwarded-For: 1", "Cookie: token=x", "Keep-Alive: timeout=0",
                 "Sec-Fetch-Mode: cors", "Cache-Control: no-cache"):  # fmt: skip
        chunks = b"0\r\n\r\n" if line == "Transfer-Encoding: chunked" else b""
        yield Case(f"line {line!r}", chunks, "plain", ("Host: localhost", line), f"GET {ENDED} HTTP/1.1", length="")
    for count in (60, 96, 97, 98, 99, 126, 140):
        yield get(f"{count} more fields", ENDED, *[f"X-{number}: 1" for number in range(count)])
    for size in (1000, 7900, 8100, 8200, 9000):
        yield get(f"a field of {size} bytes", ENDED, "X-A: " + "a" * size)
    yield Case("no Host", b"", "plain", (), f"GET {ENDED} HTTP/1.1", length="")
    yield Case("an empty Host", b"", "plain", ("Host:",), f"GET {ENDED} HTTP/1.1", length="")


GROUPS = {"positions": positions, "tokens": tokens, "targets": targets, "channels": channels, "fields": fields}
