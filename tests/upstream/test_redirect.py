"""A redirect is followed on the same origin only, with the method and the body that came."""

import pytest

from gateway.dialects.request_body import LongContent, RequestBody
from gateway.errors import UpstreamError
from gateway.upstream.dial import Origin
from gateway.upstream.long_request import LongRequest
from gateway.upstream.redirect import MAX_HOPS, is_redirect, redirected

from .kit import DONE, FINISH, LAST_CHUNK, ROLE, Server, Trial, close, endpoint, used, word

ORIGIN = Origin.parse("http://api.test:8000/v1")
REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.test:8000\r\n\r\n{}"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/v2/chat/completions", b"/v2/chat/completions"),
        ("http://api.test:8000/v1/chat/completions/", b"/v1/chat/completions/"),
        ("HTTP://API.test:8000/x?a=1&b=2#part", b"/x?a=1&b=2"),
        ("completions/", b"/v1/chat/completions/"),
        ("//api.test:8000/x", b"/x"),
        ("?a=1", b"/v1/chat/completions?a=1"),
        (" /x ", b"/x"),
    ],
)
@pytest.mark.parametrize("status", [307, 308])
def test_a_location_on_the_same_origin_gets_the_request_once_more(status: int, location: str, target: bytes) -> None:
    assert redirected(REQUEST, status, location, ORIGIN, 0) == REQUEST.replace(b"/v1/chat/completions", target)


@pytest.mark.parametrize(
    ("status", "location", "words"),
    [
        (307, "https://api.test:8000/x", "another origin; base_url has to name it: https://api.test:8000/x"),
        (308, "http://api.test/x?key=secret", "another origin; base_url has to name it: http://api.test/x"),
        (
            307,
            "http://user:secret@other.test:8000/x",
            "another origin; base_url has to name it: http://other.test:8000/x",
        ),
        (307, "ftp://api.test:8000/x", "another origin"),
        (301, "/x", "a status that is not followed: http://api.test:8000/x"),
        (307, "http://[", "no URL"),
        (307, "/a b\r\nX: y", "no URL"),
        (307, "http://api.test:99999/x", "no URL"),
    ],
)
def test_any_other_location_is_named_in_the_error(status: int, location: str, words: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        redirected(REQUEST, status, location, ORIGIN, 0)
    assert f"HTTP {status}" in caught.value.reason
    assert words in caught.value.message
    assert "secret" not in caught.value.message
    assert "test" not in caught.value.reason  # logs hold no words of an upstream


def test_a_request_for_a_proxy_keeps_its_whole_url() -> None:
    request = REQUEST.replace(b"POST /", b"POST http://api.test:8000/")
    moved = request.replace(b"POST http://api.test:8000/v1/chat/completions", b"POST http://api.test:8000/x")
    assert redirected(request, 307, "/x", ORIGIN, 0) == moved


def test_a_long_request_keeps_its_body() -> None:
    content = LongContent(RequestBody(b"{}", {}), [(0, 2)])
    moved = redirected(LongRequest(b"POST /v1 HTTP/1.1\r\nHost: h\r\n\r\n", content), 307, "/x", ORIGIN, 0)
    assert moved == LongRequest(b"POST /x HTTP/1.1\r\nHost: h\r\n\r\n", content)


def test_the_number_of_hops_is_limited() -> None:
    assert redirected(REQUEST, 307, "/x", ORIGIN, MAX_HOPS - 1)
    with pytest.raises(UpstreamError, match="more than 3 redirects"):
        redirected(REQUEST, 307, "/x", ORIGIN, MAX_HOPS)


def test_only_an_answer_that_names_a_location_is_a_redirect() -> None:
    assert is_redirect(307, {"location": "/x"})
    assert not is_redirect(307, {})
    assert not is_redirect(304, {"location": "/x"})


@pytest.mark.parametrize("status", [307, 308])
async def test_an_attempt_follows_a_redirect_and_sends_its_body_again(status: int) -> None:
    async with Server.open() as server:
        to = endpoint(server.base_url)
        trial = Trial(to)
        first = await server.peer()
        sent = await first.request()
        first.send(b"HTTP/1.1 %d Moved\r\nLocation: /v1/chat/completions/\r\nContent-Length: 0\r\n\r\n" % status)
        second = await server.peer()
        again = await second.request()
        assert again == sent.replace(b"/v1/chat/completions ", b"/v1/chat/completions/ ")
        second.events(ROLE, word("a"), FINISH, DONE)
        second.send(LAST_CHUNK)
        await trial.observer.over()
        assert trial.observer.text == "a"
        assert await first.hung_up()
        await close(to)


async def test_an_attempt_that_is_sent_round_in_circles_fails() -> None:
    async with Server.open() as server:
        to = endpoint(server.base_url)
        trial = Trial(to)
        for _ in range(MAX_HOPS + 1):
            peer = await server.peer()
            await peer.request()
            peer.send(b"HTTP/1.1 307 Moved\r\nLocation: ?\r\nContent-Length: 0\r\n\r\n")
        await trial.observer.over()
        assert "more than 3 redirects" in str(trial.observer.error)
        assert server.accepted == MAX_HOPS + 1
        await close(to)


async def test_a_redirect_on_a_connection_that_was_used_before_is_followed_too() -> None:
    async with Server.open() as server:
        to = endpoint(server.base_url)
        peer = await used(server, to)
        trial = Trial(to)
        await peer.request()
        peer.send(b"HTTP/1.1 307 Moved\r\nLocation: /x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nmoved\r\n")
        second = await server.peer()
        assert (await second.request()).startswith(b"POST /x HTTP/1.1\r\n")
        second.events(ROLE, word("a"), FINISH, DONE)
        await trial.observer.over()
        assert trial.observer.outcome == ["content", "complete"]
        await close(to)
