"""Requests for `POST /v1/chat/completions` and beside it: good, odd, broken ones, and all kinds of errors."""

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MODEL = "openai/gpt-4o"
PATH = "/v1/chat/completions"
MAX_BODY_BYTES = 100_000  # `server.max_body_bytes` of the gateway that gets these requests
MUTATIONS = 200


@dataclass(frozen=True, slots=True)
class Case:
    """One request. `key` names the API key; `fields` are the header lines that are sent beside the key's own."""

    name: str
    content: bytes
    key: str | None = "plain"
    fields: tuple[str, ...] = ("Host: localhost", "Content-Type: application/json")
    line: str = f"POST {PATH} HTTP/1.1"
    length: str | None = None  # the Content-Length that is sent; None: the true length
    authorization_first: bool = False
    tail: tuple[str, ...] = field(default=())
    mark: bytes = b""  # a body that does not end is read up to these bytes

    def encode(self, secret: str | None) -> bytes:
        lines = [*self.fields, *([] if secret is None else [f"Authorization: Bearer {secret}"])]
        if self.authorization_first:
            lines.reverse()
        length = str(len(self.content)) if self.length is None else self.length
        if length:
            lines.append(f"Content-Length: {length}")
        head = "".join(f"{line}\r\n" for line in (self.line, *lines, *self.tail, ""))
        return head.encode("utf-8", "surrogateescape") + self.content


def body(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "stream": True, **fields}


def post(name: str, content: bytes | dict[str, Any] | None = None, *more: str, **options: Any) -> Case:
    """A request with the usual header fields and the fields in `more`."""
    content = body() if content is None else content
    encoded = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Case(name, encoded, fields=("Host: localhost", "Content-Type: application/json", *more), **options)


# --- the body

VALUES: dict[str, Any] = {
    "null": None, "true": True, "false": False, "a string": "x", "an empty string": "", "0": 0, "1": 1, "-1": -1,
    "1.5": 1.5, "2**70": 2**70, "[]": [], "a list": ["x"], "a list of lists": [[]], "{}": {}, "an object": {"a": 1},
}  # fmt: skip
FIELDS = (
    "model", "messages", "stream", "stream_options", "gateway", "routing", "temperature", "top_p",
    "frequency_penalty", "presence_penalty", "max_tokens", "max_completion_tokens", "n", "seed", "stop", "tools",
    "tool_choice", "response_format", "logprobs", "user", "unheard_of",
)  # fmt: skip


def types() -> Iterator[Case]:
    for name in FIELDS:
        for kind, value in VALUES.items():
            yield post(f"{name} is {kind}", {**body(), name: value})
    for name in ("model", "messages", "stream"):
        content = body()
        del content[name]
        yield post(f"without {name}", content)


def extension() -> Iterator[Case]:
    for name in ("stream", "routing", "models", "metadata"):
        for kind, value in VALUES.items():
            yield post(f"gateway.{name} is {kind}", body(gateway={name: value}))
    for name in ("on_last_reader", "abort_grace_ms"):
        for kind, value in VALUES.items():
            yield post(f"gateway.stream.{name} is {kind}", body(gateway={"stream": {name: value}}))
    for options in ({"order": ["nobody"]}, {"providers": ["alpha"]}, {"providers": ["x"]}, {"optimize": "speed"},
                    {"max_cost_usd": 0.0}, {"max_cost_usd": 5}, {"max_ttft_ms": 1}, {"deadline_ms": 5000},
                    {"unheard_of": 1}):  # fmt: skip
        yield post(f"routing {options}", body(routing=options))
        yield post(f"gateway.routing {options}", body(gateway={"routing": options}))
    yield post("two ways to name models", body(gateway={"models": [MODEL]}))
    yield post("models only", {**{k: v for k, v in body().items() if k != "model"}, "gateway": {"models": [MODEL]}})
    yield post("an unknown model", body(model="nobody/knows"))
    yield post("a model in many bytes", body(model="m" * 5000))
    yield post("a model beyond ASCII", body(model="mod\u00e8le \u4e2d"))
    yield post("drained by its last subscriber", body(gateway={"stream": {"on_last_reader": "drain"}}))


def documents() -> Iterator[Case]:
    good = json.dumps(body()).encode()
    stream = b'"stream": true'
    for name, content in {
        "empty": b"", "a blank": b" ", "the word only": stream, "cut off": good[:-1], "bytes behind": good + b"x",
        "a comma too much": good[:-1] + b",}", "NaN": good[:-1] + b', "top_p": NaN}',
        "infinity": good[:-1] + b', "top_p": Infinity}', "a large number": good[:-1] + b', "top_p": 1e999}',
        "a byte order mark": b"\xef\xbb\xbf" + good, "not UTF-8": good[:-1] + b', "user": "\xff"}',
        "UTF-16": good.decode().encode("utf-16"), "a control character": good[:-1] + b', "user": "\x01"}',
        "a comment": b"/* */" + good, "single quotes": good.replace(b'"', b"'"), "a list": b"[" + good + b"]",
        "a string": json.dumps(good.decode()).encode(), "null": b"null " + stream, "blanks around it": b"\n " + good,
        "a key twice": good[:-1] + b', "stream": true}', "two streams": good[:-1] + b', "stream": false}',
        "the first stream counts not": b'{"stream": false, ' + good[1:],
        "two models": good[:-1] + b', "model": "nobody/knows"}',
        "a lone surrogate": good[:-1] + rb', "user": "\ud800"}',
        "a lone surrogate as model": good[:-1] + rb', "model": "\udfff"}',
        "a lone surrogate as a key": good[:-1] + rb', "\ud800": 1}',
        "escapes": good.replace(b'"stream"', rb'"\u0073tream"'), "a nul": good[:-1] + rb', "user": "\u0000"}',
        "no blank": good.replace(b'"stream": true', b'"stream":true'),
        "stream elsewhere": json.dumps({**body(stream=False), "user": '"stream": true'}).encode(),
        "stream nested": json.dumps({**body(stream=False), "metadata": {"stream": True}}).encode(),
    }.items():  # fmt: skip
        yield post(f"JSON: {name}", content)
    for depth in (100, 250, 253, 254, 255, 300, 1000, 20_000):
        yield post(f"lists {depth} deep", good[:-1] + b', "x": ' + b"[" * depth + b"]" * depth + b"}")
        yield post(f"objects {depth} deep", good[:-1] + b', "x": ' + b'{"a":' * depth + b"1" + b"}" * depth + b"}")
    for size in (MAX_BODY_BYTES - 1, MAX_BODY_BYTES, MAX_BODY_BYTES + 1, 2 * MAX_BODY_BYTES):
        yield post(f"{size} bytes", good + b" " * (size - len(good)))
    yield post("a broken gzip body", b"nonsense" + stream, "Content-Encoding: gzip")
    yield post("a gzip body", gzip.compress(good), "Content-Encoding: gzip")
    yield post("an unknown coding", good, "Content-Encoding: rot13")
    yield post("a whole answer", body(stream=False))
    yield post("an error of a whole answer", body(stream=False, temperature="hot"))


# --- the head


def heads() -> Iterator[Case]:
    host, kind = "Host: localhost", "Content-Type: application/json"
    content = json.dumps(body()).encode()

    def case(name: str, *fields: str, **options: Any) -> Case:
        return Case(f"head: {name}", content, fields=fields, **options)

    yield case("as usual", host, kind)
    yield case("lower case", host.lower(), kind.lower())
    yield case("upper case", host.upper(), kind.upper())
    yield case("another order", kind, host, authorization_first=True)
    yield case("no Host", kind)
    yield case("an empty Host", "Host:", kind)
    yield case("two Hosts", host, host, kind)
    yield case("two different Hosts", host, "Host: elsewhere", kind)
    yield case("a Host with a port", "Host: localhost:8080", kind)
    yield case("a strange Host", "Host: a/b@c d", kind)
    yield case("two types", host, kind, kind)
    for blanks in (
        "Host:localhost",
        "Host:\tlocalhost",
        "Host:   localhost  ",
        "Host : localhost",
        " Host: localhost",
    ):
        yield case(f"blanks: {blanks!r}", blanks, kind)
    for line in ("X-A", "X-A:", ": 1", "X A: 1", "X-A: 1\r\n folded", "X-A: caf\u00e9", "X-A: \x00", "X-A: \x7f",
                 "X-A: a\nX-B: b", "X-A: a\rb", "X(A: 1", "X-A: \udcff", "Sec-WebSocket-Key1: 1",
                 "Content-Length : 5", "Content_Length: 5", "Transfer_Encoding: chunked",
                 "Transfer-Encoding : chunked",
                 "X-A: Content-Length: 5", "X-A: a\r", "X-A: a\n", "X\x00A: 1", "\tX-A: 1", "Transfer-Encoding:",
                 "Content-Encoding:", "Expect:", "Connection:", "Connection: Content-Length", "Trailer: X-A",
                 "Keep-Alive: timeout=0", "X-Forwarded-For: 1", "X-HTTP-Method-Override: DELETE", "__proto__: x",
                 "Host : localhost", "HOST: localhost"):  # fmt: skip
        yield case(f"a line {line!r}", host, kind, line)
    for count in (60, 95, 96, 97, 98, 120, 124, 125, 126, 140, 200):
        yield case(f"{count} more fields", host, kind, *[f"X-{number}: 1" for number in range(count)])
    for size in (1000, 7000, 7900, 8100, 8180, 8200, 9000, 70_000):
        yield case(f"a field of {size} bytes", host, kind, "X-A: " + "a" * size)
        yield case(f"a name of {size} bytes", host, kind, "X" * size + ": 1")
    for value in ("keep-alive", "Keep-Alive", "close", "upgrade", "Upgrade, keep-alive", "x"):
        yield case(f"Connection: {value}", host, kind, f"Connection: {value}")
    for value in ("websocket", "h2c", "nothing"):
        yield case(f"Upgrade: {value}", host, kind, f"Upgrade: {value}")
        yield case(f"asks to upgrade: {value}", host, kind, "Connection: upgrade", f"Upgrade: {value}")
    for value in ("100-continue", "100-Continue", "something"):
        yield case(f"Expect: {value}", host, kind, f"Expect: {value}")
    for value in ("", "x", "-1", "+5", "0x5", "5, 5", "1e3", "00000000000000000000005", "99999999999999999999999"):
        yield case(f"Content-Length: {value!r}", host, kind, length="", tail=(f"Content-Length: {value}",))
    for value in ("\x0b5", "5;", '"5"', "-0", "5\r\n 5", "0005 \t", "\u0665"):
        yield case(f"Content-Length: {value!r}", host, kind, length="", tail=(f"Content-Length: {value}",))
    yield case("two lengths", host, kind, tail=(f"Content-Length: {len(content)}",))
    yield case("a length with noughts", host, kind, length=f"000{len(content)}")
    yield case("a length and chunks", host, kind, "Transfer-Encoding: chunked")
    for value in ("gzip", "identity", "chunked, chunked"):
        yield case(f"Transfer-Encoding: {value}", host, kind, f"Transfer-Encoding: {value}", length="")
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
    yield Case("head: chunks", chunks, fields=(host, kind, "Transfer-Encoding: chunked"), length="")
    for value in ("text/plain", "application/json; charset=utf-8", "application/x-www-form-urlencoded", ""):
        yield case(f"Content-Type: {value}", host, f"Content-Type: {value}")


def lines() -> Iterator[Case]:
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "post", "FOO", "P\x00ST", ""):
        yield post(f"method {method!r}", line=f"{method} {PATH} HTTP/1.1")
    for target in (f"{PATH}?a=b", f"{PATH}#a", f"{PATH}/", f"/{PATH}", "/v1/chat//completions", "/v1/chat/completion",
                   "/v1/nothing", "/", "*", f"http://gateway{PATH}", "/v1/chat/%63ompletions", f"{PATH}?token=x", "x",
                   "", f"{PATH} x", "/v1/chat/completions\x7f", f"{PATH}?", f"{PATH};a=b", "/v1/./chat/completions",
                   "/v1/x/../chat/completions", "/v1/chat%2fcompletions", f"http://evil.example{PATH}"):  # fmt: skip
        yield post(f"target {target!r}", line=f"POST {target} HTTP/1.1")
    for version in (
        "HTTP/1.0",
        "HTTP/1.2",
        "HTTP/2.0",
        "HTTP/0.9",
        "http/1.1",
        "HTTP/1.",
        "HTTP/11",
        "",
        "HTTP/1.10",
        "HTTP/01.1",
        "HTTP/3",
        "HTTP/1.1x",
        "HTTP/1.1 ",
        " HTTP/1.1",
        "SIP/2.0",
    ):
        yield post(f"version {version!r}", line=f"POST {PATH} {version}")
    for path in ("/v1/models", "/v1/models/nobody/knows", "/v1/feeds", "/healthz", "/readyz", "/v1/streams/x",
                 "/v1/streams/x/events", "/v1/usage?group_by=x"):  # fmt: skip
        yield post(f"GET {path}", b"", line=f"GET {path} HTTP/1.1", length="")


def options() -> Iterator[Case]:
    for value in ("0", "1000", "60000", "", "-1", "1.5", "soon", "99999999", "100000000", "\u0665"):
        yield post(f"X-Max-TTFT-Ms: {value}", None, f"X-Max-TTFT-Ms: {value}")
    for value in ("auto", "event", "finish", "none", "AUTO", "", "sometimes", "x" * 200):
        yield post(f"X-Usage-Event: {value}", None, f"X-Usage-Event: {value}")
    for value in ("k1", "k 2", "k" * 256, "k" * 257, "", "k\tk", "caf\u00e9"):
        yield post(f"X-Stream-Key: {value!r}", None, f"X-Stream-Key: {value}")
    yield post("X-Stream-Key again", None, "X-Stream-Key: k1")
    yield post("X-Stream-Key with another body", body(user="else"), "X-Stream-Key: k1")
    yield post("X-Stream-Key of a whole answer", body(stream=False), "X-Stream-Key: k3")
    for value in ("mine", "a.b:c-d_e", "x" * 128, "x" * 129, "", "a b", "a\u00e9"):
        yield post(f"x-request-id: {value}", None, f"x-request-id: {value}")
    for value in ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "nonsense"):
        yield post(f"traceparent: {value}", None, f"traceparent: {value}")
    for value in ("auriko-python/1.2", "OpenAI/Python 3.50", ""):
        yield post(f"User-Agent: {value}", None, f"User-Agent: {value}")
    for value in ("http://good.example", "http://evil.example", "http://gateway", "null", ""):
        yield post(f"Origin: {value}", None, f"Origin: {value}")
        yield post(f"an error for {value}", body(temperature="hot"), f"Origin: {value}")
        preflight = (f"Origin: {value}", "Access-Control-Request-Method: POST")
        yield post(f"a preflight of {value}", b"", *preflight, line=f"OPTIONS {PATH} HTTP/1.1")


# --- the key


def keys() -> Iterator[Case]:
    for key in ("revoked", "expired", "narrow", "poor", "empty", "slow", "unknown", "mistyped", "long", "blank"):
        for number in range(3):
            yield post(f"key {key}, {number}", key=key)
        yield post(f"key {key}, a broken body", b'{"stream": true', key=key)
        yield post(f"key {key}, a whole answer", body(stream=False), key=key)
        yield post(f"key {key}, a wrong field", body(n=0), key=key)
    yield post("no key", key=None)
    for value in ("Basic YTpi", "Bearer", "bearer x", "Bearer\tx", "x", "", "Bearer caf\u00e9"):
        yield post(f"Authorization: {value}", None, f"Authorization: {value}", key=None)
    yield post("two keys", None, "Authorization: Bearer x")
    for name in ("x-api-key", "api-key", "X-API-Key"):
        for value in ("x", "", "x" * 2000, "caf\u00e9", "Bearer x"):
            yield post(f"{name}: {value}", None, f"{name}: {value}", key=None)
        yield post(f"a key and another one in {name}", None, f"{name}: x")
        yield post(f"a key and nothing in {name}", None, f"{name}:")
    yield post("x-api-key and api-key", None, "x-api-key: x", "api-key: x", key=None)
    yield post("x-api-key twice", None, "x-api-key: x", "x-api-key: y", key=None)


# --- the upstream


def upstreams() -> Iterator[Case]:
    for status in (400, 401, 403, 404, 408, 409, 413, 422, 500, 502, 503, 504):
        yield post(f"upstream says {status}", body(simulate={"status": status}))
    for name, simulate in {
        "breaks off": {"cut_after": 1}, "resets": {"reset_after": 0}, "closes": {"close_after": 0},
        "an error first": {"error_first": True}, "an error later": {"error_after": 1}, "HTML": {"html_error": True},
        "JSON instead": {"json_instead": True}, "no terminal event": {"done": False}, "no finish": {"finish": False},
        "tools": {"tool_calls": 2}, "reasoning": {"reasoning_tokens": 2}, "pretty": {"pretty": True},
        "comments": {"comments": 1}, "event names": {"event_names": True}, "usage": {"usage": "always"},
        "a script that cannot be": {"tokens": -1},
    }.items():  # fmt: skip
        yield post(f"upstream: {name}", body(simulate=simulate))
    yield post("an upstream that is gone", body(model="gone/model"))
    yield post("over the budget", body(simulate={"ttft_ms": 2000}), "X-Max-TTFT-Ms: 40")
    yield post("over the deadline", body(simulate={"ttft_ms": 2000}, routing={"deadline_ms": 1000}))


# --- mutations


def mutations() -> Iterator[Case]:
    """Requests with one to three small changes, always the same ones."""
    dice = random.Random(17)
    for number in range(MUTATIONS):
        content = bytearray(json.dumps(body()).encode())
        fields = ["Host: localhost", "Content-Type: application/json", "Accept: */*", "User-Agent: x", "X-A: 1"]
        for _ in range(dice.randint(1, 3)):
            if dice.random() < 0.5:
                _mutate_bytes(content, dice)
            else:
                _mutate_fields(fields, dice)
        yield Case(f"mutation {number}", bytes(content), fields=tuple(fields))


def _mutate_bytes(content: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(content))
    match dice.randrange(3):
        case 0:
            content[at] = dice.randrange(256)
        case 1:
            del content[at : at + dice.randint(1, 4)]
        case _:
            content[at:at] = dice.choice([b"[", b'"', b"\\", b"{", b",", b"\xc3", b"0"])


def _mutate_fields(fields: list[str], dice: random.Random) -> None:
    at = dice.randrange(len(fields))
    match dice.randrange(5):
        case 0:
            fields.insert(at, dice.choice(fields))
        case 1:
            fields[at] = fields[at].swapcase()
        case 2:
            dice.shuffle(fields)
        case 3:
            del fields[at]
            fields.append("X-B: 2")
        case _:
            place = dice.randrange(len(fields[at]) + 1)
            character = dice.choice(' \t:\x0b,;"\\(\x80%')
            fields[at] = fields[at][:place] + character + fields[at][place:]


GROUPS = {
    "types": types, "extension": extension, "documents": documents, "heads": heads, "lines": lines,
    "options": options, "keys": keys, "upstreams": upstreams, "mutations": mutations,
}  # fmt: skip
