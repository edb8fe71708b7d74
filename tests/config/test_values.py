"""Listeners and URLs: which values are taken, and how they are written back."""

from pathlib import Path

import pytest

from gateway.config import MAX_SOCKET_PATH_BYTES, Listen, ModelSettings, ServerSettings, UpstreamSettings

from .toml import MINIMAL, SECRET, faults, server_fault


@pytest.mark.parametrize(
    ("text", "listen", "loopback"),
    [
        ("127.0.0.1:8080", Listen("127.0.0.1", 8080), True),
        ("127.8.9.1:1", Listen("127.8.9.1", 1), True),
        ("localhost:0", Listen("localhost", 0), True),
        ("[::1]:65535", Listen("::1", 65535), True),
        ("unix:/run/rivergate.sock", Listen("", 0, "/run/rivergate.sock"), True),
        (":8080", Listen("", 8080), False),
        ("0.0.0.0:80", Listen("0.0.0.0", 80), False),
        ("[::]:80", Listen("::", 80), False),
        ("localhost.example.com:80", Listen("localhost.example.com", 80), False),
        ("127.0.0.1.example.com:80", Listen("127.0.0.1.example.com", 80), False),
    ],
)
def test_a_listener_is_parsed_and_written_back(text: str, listen: Listen, loopback: bool) -> None:
    assert Listen.parse(text) == listen
    assert str(listen) == text
    assert listen.is_loopback is loopback


@pytest.mark.parametrize(
    "text",
    [
        *("", "8080", "host", "host:", "host:-1", "host:65536", "host:8o", "host:٣", "a b:80", "a:80\n"),
        *("::1:80", "[::1]", "[localhost]:80", "[]:80", "127.0.0.256:80", "1.2.3:80", "http://a:80"),
        *("unix:", "unix:relative", "unix:/a\nb"),
    ],
)
def test_a_listener_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must "):
        Listen.parse(text)


def test_a_socket_path_has_the_limit_of_the_kernel() -> None:
    longest = "/" + "x" * (MAX_SOCKET_PATH_BYTES - 1)
    assert Listen.parse(f"unix:{longest}").path == longest
    with pytest.raises(ValueError, match="at most 107 bytes"):
        Listen.parse(f"unix:{longest}x")


def test_a_faulty_listener_is_told_with_its_value(tmp_path: Path) -> None:
    assert server_fault(tmp_path, 'listen = "nowhere"') == (
        'server.listen: must be host:port, [IPv6]:port, :port or unix:/path (is "nowhere")'
    )
    assert server_fault(tmp_path, "listen = 8080").endswith("or unix:/path (is 8080)")


def test_the_listener_is_dumped_as_it_is_written() -> None:
    assert ServerSettings().model_dump()["listen"] == "127.0.0.1:8080"


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://api.example.com/v1/", "https://api.example.com/v1"),
        ("HTTP://my_service:8000", "http://my_service:8000"),
        ("http://[::1]:9000/v1//", "http://[::1]:9000/v1"),
    ],
)
def test_a_base_url_loses_its_trailing_slashes(url: str, kept: str) -> None:
    assert UpstreamSettings(name="a", base_url=url, models=(ModelSettings(id="m"),)).base_url == kept


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "api.example.com",
            "ftp://a",
            "https://",
            "https:///v1",
            "https://a?",
            "https://a/v1?key=" + SECRET,
        ),
        *("https://a/#x", "https://a#", "https://a b/", "https://a/\\tb", "https://a:0", "https://a:99999"),
        *("https://[::1", "https://ä.example", "https://1.2.3.400/", f"https://user:{SECRET}@a.example/v1"),
    ],
)
def test_a_base_url_that_cannot_be_used_is_refused_without_repeating_it(tmp_path: Path, url: str) -> None:
    [fault] = faults(tmp_path, MINIMAL.replace("http://127.0.0.1:9000/v1", url))
    assert fault.startswith("upstreams[0].base_url: ")
    assert "is " not in fault.removeprefix("upstreams[0].base_url: is not a valid URL")
    assert SECRET not in fault


def test_a_password_in_a_url_is_told_as_what_it_is(tmp_path: Path) -> None:
    feed = '[[feeds]]\nname = "t"\nurl = "http://u:p@t.example/e"\n'
    assert faults(tmp_path, feed) == [
        "feeds[0].url: must not carry a user name or password; use api_key_env or api_key_file"
    ]
