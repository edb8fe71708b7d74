"""Tokens of the application over HTTP: what they open, when they end, and keys that change while the gateway runs."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import MODEL, QUICK
from tests.kit.configuration import configuration
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.http_client import Answer, call
from tests.kit.keyring import Keyring, MadeKey
from tests.kit.raw_upstream import RawUpstream, json_answer
from tests.kit.signed_tokens import EC, RSA, SECRET, jwk, token
from tests.kit.sse_client import Subscriber, text_of
from tests.kit.streams import create
from tests.kit.upstreams import Upstream
from tests.kit.waiting import wait_for

FEEDS = "".join(f'[[feeds]]\nname = "{name}"\npublish = true\n' for name in ("a", "b"))
EVENTS = "/v1/feeds/a/events"


def claims(seconds: float = 60, **granted: list[str]) -> dict[str, Any]:
    return {"sub": "viewer", "exp": time.time() + seconds, "rivergate": granted or {"feeds": ["a"]}}


@pytest.fixture(scope="module")
def secret_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("viewers") / "secret"
    file.write_bytes(SECRET)
    return file


@pytest.fixture(scope="module")
def keyring(secret_file: Path, alpha: Upstream) -> Keyring:
    viewers = f'[viewers]\njwt_secret_file = "{secret_file}"\njwt_leeway_seconds = 0\n'
    made = Keyring(secret_file.parent, [(alpha, [MODEL])], viewers)
    made.configuration += FEEDS
    made.file.write_text(made.configuration)
    return made


@pytest.fixture(scope="module")
def gateway(logs: Path, keyring: Keyring) -> Iterator[LocalGateway]:
    with keyring.serving(logs) as started:
        key = keyring.create(publish=True)
        for name in ("a", "b"):
            publish(started, name, key)
        yield started


@pytest.fixture(scope="module")
def key(keyring: Keyring, gateway: Gateway) -> MadeKey:
    return keyring.create()


def publish(gateway: Gateway, name: str, key: MadeKey | None = None) -> None:
    headers = {} if key is None else {"Authorization": key.bearer}
    assert call(gateway, "POST", f"/v1/feeds/{name}/events", b'{"data": "x"}', **headers).status == 202


def opens(gateway: Gateway, text: str, path: str = EVENTS) -> int:
    """The status of a subscription with this token in the query."""
    with Subscriber(gateway.port, f"{path}?token={text}") as subscriber:
        if subscriber.response.status == 200:
            assert subscriber.events(1)[0].data == "x"
        return subscriber.response.status


# --- what a token opens


def test_a_token_opens_its_feeds_in_the_query_and_in_the_header(gateway: Gateway) -> None:
    text = token(claims())
    assert opens(gateway, text) == 200
    assert opens(gateway, text, "/v1/feeds/b/events") == 403
    assert opens(gateway, token(claims(feeds=["*"])), "/v1/feeds/b/events") == 200
    assert opens(gateway, token(claims(feeds=["*"])), "/v1/feeds/statistics/events") == 403
    with Subscriber(gateway.port, EVENTS, Authorization=f"Bearer {text}") as subscriber:
        assert subscriber.events(1)[0].data == "x"


def test_a_token_of_more_than_a_plain_request_holds_opens_too(gateway: Gateway) -> None:
    long = token(claims(feeds=["a", *(f"another-feed-{number:04d}" for number in range(150))]))
    assert len(long) > 3000
    assert opens(gateway, long) == 200


def test_a_token_opens_streams_but_not_their_cost_and_changes_nothing(gateway: Gateway, key: MadeKey) -> None:
    stream = create(gateway, QUICK, Authorization=key.bearer)
    text = token(claims(streams=[stream["id"]]))
    path = f"/v1/streams/{stream['id']}"
    with Subscriber(gateway.port, f"{path}/events?token={text}") as subscriber:
        assert text_of(subscriber.all_events())
    described = call(gateway, "GET", f"{path}?token={text}")
    assert described.status == 200
    assert "cost_usd" not in json.loads(described.body)
    assert call(gateway, "GET", f"{path}?token={token(claims(streams=['st_other']))}").status == 403
    for method, where in (("DELETE", path), ("POST", f"{path}/tokens"), ("GET", "/v1/streams"), ("GET", "/v1/me")):
        assert call(gateway, method, f"{where}?token={text}").status == 401
        assert call(gateway, method, where, Authorization=f"Bearer {text}").status == 401
    gone = call(gateway, "GET", f"/v1/streams/st_gone/events?token={token(claims(streams=['*']))}")
    assert gone.status == 404


def test_a_token_opens_those_of_several_channels_that_it_is_for(gateway: Gateway, key: MadeKey) -> None:
    stream = create(gateway, QUICK, Authorization=key.bearer)
    text = token(claims(streams=["st_*"], feeds=["a"]))
    query = f"stream={stream['id']}&feed=a&feed=b&feed=statistics&token={text}"
    with Subscriber(gateway.port, f"/v1/events?{query}") as subscriber:
        events = subscriber.events(2 + 1 + 11)
    refused = [event.json for event in events if event.name == "end" and "error" in event.json]
    assert [(told["channel"], told["error"]["code"]) for told in refused] == [
        ("feed:b", "insufficient_permissions"),
        ("feed:statistics", "insufficient_permissions"),
    ]
    assert {event.name for event in events} == {"end", "feed:a", stream["id"]}
    assert opens(gateway, text, "/v1/events") == 400  # it names no channels that could be listed


def test_a_token_opens_its_channels_of_one_connection_and_the_others_are_refused_each(gateway: Gateway) -> None:
    path = f"/v1/events?feed=a&feed=b&stream=st_none&token={token(claims(1.5, feeds=['a'], streams=['*']))}"
    with Subscriber(gateway.port, path) as subscriber:
        *events, last = subscriber.all_events()
    refused = {event.json["channel"]: event.json["error"]["code"] for event in events if event.name == "end"}
    assert refused == {"feed:b": "insufficient_permissions", "st_none": "resource_not_found"}
    assert ("feed:a", "x") in {(event.name, event.data) for event in events}
    assert (last.name, last.json) == ("end", {"ending": "expired", "channel": "feed:a"})


def test_a_viewer_token_of_the_gateway_is_good_beside_them_and_in_the_header(gateway: Gateway, key: MadeKey) -> None:
    stream = create(gateway, QUICK, Authorization=key.bearer)
    text = stream["viewer_url"].rpartition("token=")[2]
    with Subscriber(gateway.port, stream["events_url"], Authorization=f"Bearer {text}") as subscriber:
        assert text_of(subscriber.all_events())


@pytest.mark.parametrize("path", ["/v1/feeds/a-none/events?", "/v1/events?feed=a-none&"])
def test_the_bearer_of_a_token_is_not_told_the_names_of_feeds(gateway: Gateway, key: MadeKey, path: str) -> None:
    refused = call(gateway, "GET", f"{path}token={token(claims(feeds=['a*']))}")
    assert (refused.status, refused.error()["message"]) == (404, "there is no feed 'a-none'")
    assert "known feeds: " in call(gateway, "GET", path, Authorization=key.bearer).error()["message"]


@pytest.mark.parametrize("signer", ["another secret", "rsa"])
def test_a_forged_token_is_refused_and_no_part_of_it_is_told_or_logged(gateway: Gateway, signer: str) -> None:
    text = token(claims(), signer)
    for answer in (
        call(gateway, "GET", f"{EVENTS}?token={text}"),
        call(gateway, "GET", EVENTS, Authorization=f"Bearer {text}"),
    ):
        assert (answer.status, answer.error()["code"]) == (401, "invalid_api_key")
        assert all(part.encode() not in answer.body for part in text.split("."))
    assert all(part not in gateway.errors() for part in text.split("."))
    assert SECRET.decode() not in gateway.errors()


def test_a_subscription_ends_when_its_token_expires(gateway: Gateway) -> None:
    began = time.time()
    with Subscriber(gateway.port, f"{EVENTS}?token={token(claims(1.2))}") as subscriber:
        *_, end = subscriber.all_events()
    assert (end.name, end.json) == ("end", {"ending": "expired"})
    assert 1.0 < time.time() - began < 10.0
    assert opens(gateway, token(claims(-1))) == 403


def test_another_secret_is_in_force_after_a_reload(
    logs: Path, keyring: Keyring, secret_file: Path, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_bytes(SECRET)
    settings = configuration([], f'[viewers]\njwt_secret_file = "{file}"\n') + FEEDS
    gateway = LocalGateway(logs, settings)
    publish(gateway, "a")
    assert (opens(gateway, token(claims())), opens(gateway, token(claims(), "another secret"))) == (200, 401)
    file.write_bytes(SECRET[::-1])
    gateway.reload(gateway.file.read_text())
    assert (opens(gateway, token(claims())), opens(gateway, token(claims(), "another secret"))) == (401, 200)
    gateway.reload(configuration([]) + FEEDS)
    assert opens(gateway, token(claims(), "another secret")) == 401
    gateway.close()


# --- keys that the issuer lists


class Issuer:
    """A server with a key set, which can be exchanged."""

    def __init__(self) -> None:
        self.answer: Callable[[], bytes] = lambda: b""
        self.server = RawUpstream(lambda request: self.answer(), "issuer")
        self.url = self.server.base_url.removesuffix("/v1") + "/keys?set=1"

    def list(self, *keys: dict[str, Any]) -> None:
        self.answer = lambda: json_answer(200, json.dumps({"keys": keys}).encode())

    @property
    def looks(self) -> int:
        return len(self.server.requests)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    yield issuer
    issuer.server.close()


def served(logs: Path, issuer: Issuer, more: str = "") -> LocalGateway:
    gateway = LocalGateway(logs, configuration([], f'[viewers]\njwks_url = "{issuer.url}"\n{more}\n') + FEEDS)
    publish(gateway, "a")
    return gateway


def failing(gateway: Gateway) -> bool:
    return b"rivergate_viewer_keys_failing 1.0" in call(gateway, "GET", "/metrics").body


def test_a_new_key_is_asked_for_once_and_strange_ones_do_not_make_the_issuer_busy(logs: Path, issuer: Issuer) -> None:
    issuer.list(jwk(RSA, "old"))
    gateway = served(logs, issuer)
    assert opens(gateway, token(claims(), "rsa", kid="old")) == 200
    assert issuer.server.requests[0].startswith(b"GET /keys?set=1 HTTP/1.1\r\n")
    looks = issuer.looks
    issuer.list(jwk(RSA, "old"), jwk(EC, "new"))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: opens(gateway, token(claims(), "ec", kid="new")), range(8)))
    assert (answers, issuer.looks) == ([200] * 8, looks + 1)
    strange = [opens(gateway, token(claims(), "rsa", kid=f"strange-{number}")) for number in range(20)]
    assert (strange, issuer.looks) == ([401] * 20, looks + 1)
    gateway.close()


def test_a_key_that_the_issuer_lists_no_more_is_gone_after_the_next_look(logs: Path, issuer: Issuer) -> None:
    issuer.list(jwk(RSA, "old"))
    gateway = served(logs, issuer, "jwks_refresh_seconds = 1")
    assert opens(gateway, token(claims(), "rsa", kid="old")) == 200
    issuer.list(jwk(EC, "new"))
    wait_for(lambda: opens(gateway, token(claims(), "rsa", kid="old")) == 401, "the old key to be gone")
    assert opens(gateway, token(claims(), "ec", kid="new")) == 200
    gateway.close()


def broken_answers() -> list[tuple[str, bytes]]:
    return [
        ("an error", json_answer(500, b"{}")),
        ("nothing", b""),
        ("no end", json_answer(200, b'{"keys": [' + b" " * 300_000 + b"]}")),
    ]


@pytest.mark.parametrize("answer", [entry[1] for entry in broken_answers()], ids=[e[0] for e in broken_answers()])
def test_the_keys_stay_good_while_the_issuer_gives_none(logs: Path, issuer: Issuer, answer: bytes) -> None:
    issuer.list(jwk(RSA, "old"))
    gateway = served(logs, issuer, "jwks_refresh_seconds = 1")
    text = token(claims(), "rsa", kid="old")
    assert opens(gateway, text) == 200
    issuer.answer = lambda: answer
    line = gateway.wait_for_event("the keys of viewers cannot be fetched")
    assert line["keys_kept"] == 1
    assert failing(gateway)
    assert opens(gateway, text) == 200
    issuer.list(jwk(RSA, "old"))
    wait_for(lambda: not failing(gateway), "the keys to be fetched again")
    gateway.close()


def test_an_issuer_that_does_not_answer_delays_nobody_else(logs: Path, issuer: Issuer) -> None:
    listed = json_answer(200, json.dumps({"keys": [jwk(RSA, "k")]}).encode())

    def answer_late() -> bytes:
        time.sleep(1.5)
        return listed

    issuer.answer = answer_late
    gateway = served(logs, issuer)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(opens, gateway, token(claims(), "rsa", kid="k"))
        began = time.monotonic()
        answers: list[Answer] = [call(gateway, "GET", "/v1/feeds") for _ in range(20)]
        assert time.monotonic() - began < 1.0
        assert not waiting.done()
        assert waiting.result() == 200  # it has waited for the first keys
    assert {answer.status for answer in answers} == {200}
    gateway.close()
