"""The settings of a feed's source: what each takes, where its secrets come from, and what each fault says."""

from pathlib import Path

import pytest

from .toml import configuration, faults

FEED = '[[feeds]]\nname = "t"\nurl = "https://t.example/e"\n'


def test_a_feed_takes_headers_a_key_and_limits(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("from a file\n")
    text = FEED + (
        'api_key_env = "KEY"\nauth_header = "x-api-key"\nheaders = { X-Room = "blue" }\n'
        'header_env = { Cookie = "COOKIE" }\nheader_file = { X-Other = "other.txt" }\nproxy = "http://u:p@proxy:3128"\n'
        "linger_seconds = 0.5\nidle_timeout_ms = 60000\nmax_event_bytes = 1000000\n"
    )
    feed = configuration(tmp_path, text, {"KEY": "k-1", "COOKIE": "a=b; c=d"}).feeds[0]
    assert feed.api_key is not None
    assert feed.api_key.get_secret_value() == "k-1"
    secrets = {name: value.get_secret_value() for name, value in feed.secret_headers.items()}
    assert secrets == {"Cookie": "a=b; c=d", "X-Other": "from a file"}
    assert (feed.linger_seconds, feed.idle_timeout_ms, feed.max_event_bytes) == (0.5, 60_000, 1_000_000)
    assert not {"k-1", "a=b", "u:p"} & set(repr(feed).split("'"))


def test_a_feed_without_settings_has_sensible_ones(tmp_path: Path) -> None:
    feed = configuration(tmp_path, FEED).feeds[0]
    assert (feed.linger_seconds, feed.idle_timeout_ms, feed.max_event_bytes) == (5.0, 0, 8 << 20)
    assert (feed.api_key, feed.headers, feed.proxy, feed.auth_header) == (None, {}, None, "Authorization")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('api_key_env = "NOT_THERE"', "feeds[0].api_key_env: $NOT_THERE is not set"),
        ('api_key = "secret"', "feeds[0].api_key: a key does not belong here; use api_key_env or api_key_file"),
        ('headers = { Authorization = "x" }', "feeds[0].headers.Authorization: a secret does not belong here"),
        ('headers = { Host = "x" }', "feeds[0].headers.Host: must not be set"),
        ('headers = { Accept = "x" }', "feeds[0].headers.Accept: must not be set"),
        (
            'headers = { X-A = "1" }\nheader_env = { x-a = "KEY" }',
            "feeds[0].header_env.x-a: this header is already set",
        ),
        ('header_env = { X-A = "GONE" }', "feeds[0].header_env.X-A: $GONE is not set"),
        ('api_key_env = "KEY"\napi_key_file = "k"', "feeds[0].api_key_file: only one of"),
        ("linger_seconds = -1", "feeds[0].linger_seconds: must be at least 0"),
        ("max_event_bytes = 1", "feeds[0].max_event_bytes: must be at least 256"),
        ("idle_timeout_ms = 1.5", "feeds[0].idle_timeout_ms: must be a whole number"),
        ('proxy = "ftp://x"', "feeds[0].proxy: must be"),
    ],
)
def test_each_fault_of_a_feed_is_told_by_its_key_and_without_its_secret(
    tmp_path: Path, line: str, fault: str
) -> None:
    [told] = faults(tmp_path, f"{FEED}{line}\n", {"KEY": "secret"})
    assert told.startswith(fault)
    assert "secret" not in told.replace("a secret does not", "")
