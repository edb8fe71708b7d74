"""The rings of the feeds in their file: saved whole or not at all, taken once, and never from another version."""

import logging
import os
import stat
from pathlib import Path

import orjson
import pytest

from gateway.feeds.rings import SUFFIX, FeedState, save, take

TICKER = FeedState("e1", 17, b"40", [b"event: tick\ndata: 1\n\n", b"data: \xff\x00\xe2\x80\xa8\n\n"])
OTHER = FeedState("e2", 0, b"", [b"data: x\n\n"])


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "rivergate.db"


@pytest.fixture
def file(storage: Path) -> Path:
    return storage.with_name(storage.name + SUFFIX)


def test_what_was_saved_is_taken_to_the_byte(storage: Path) -> None:
    save(storage, {"ticker": TICKER, "other": OTHER})
    assert take(storage) == {"ticker": TICKER, "other": OTHER}


def test_the_ids_of_published_events_and_the_time_of_the_last_are_kept(storage: Path) -> None:
    state = FeedState("e", 3, b"", [b"data: x\n\n"], {"order-1": 2, "ä b": 3}, 1_700_000_000.25)
    save(storage, {"orders": state})
    assert take(storage) == {"orders": state}
    assert list(state.ids) == ["order-1", "ä b"]


def test_an_id_of_any_bytes_survives(storage: Path) -> None:
    state = FeedState("e", 0, bytes(range(1, 256)), [b"data: x\n\n"])
    save(storage, {"ticker": state})
    assert take(storage) == {"ticker": state}


def test_rings_that_were_taken_are_gone(storage: Path, file: Path) -> None:
    save(storage, {"ticker": TICKER})
    take(storage)
    assert not file.exists()
    assert take(storage) == {}


def test_only_the_owner_may_read_the_file_and_no_other_file_is_left_behind(storage: Path, file: Path) -> None:
    save(storage, {"ticker": TICKER})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(storage.parent) == [file.name]


def test_a_feed_without_events_has_no_positions_to_keep(storage: Path, file: Path) -> None:
    save(storage, {"silent": FeedState("e", 0, b"", [])})
    assert not file.exists()
    save(storage, {"silent": FeedState("e", 0, b"", []), "ticker": TICKER})
    assert take(storage) == {"ticker": TICKER}


def test_the_file_of_a_second_save_replaces_the_first(storage: Path) -> None:
    save(storage, {"ticker": TICKER})
    later = FeedState("e1", 18, b"41", [*TICKER.frames[1:], b"data: 2\n\n"])
    save(storage, {"ticker": later})
    assert take(storage) == {"ticker": later}


def test_until_a_new_file_is_whole_the_old_file_stays(
    storage: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(storage, {"ticker": TICKER})
    before = file.read_bytes()

    def full(*_: object, **__: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(orjson, "dumps", full)
    save(storage, {"ticker": OTHER})
    assert file.read_bytes() == before


def test_a_place_that_cannot_be_written_is_logged_and_raises_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / "missing" / "rivergate.db", {"ticker": TICKER})
    assert "the rings of the feeds are not kept" in caplog.messages


def test_without_a_file_there_are_no_states_and_no_complaint(storage: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert take(storage) == {}
    assert caplog.messages == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\xff garbage",
        b"[]",
        b"null",
        b"17",
        b"{}",
        b'{"version": 1}',
        b'{"version": 1, "feeds": []}',
        b'{"version": 1, "feeds": {"ticker": null}}',
        b'{"version": 1, "feeds": {"ticker": {"epoch": "e"}}}',
        b'{"version": 1, "feeds": {"ticker": {"epoch": "e", "first_seq": 0, "last_id": 5, "frames": []}}}',
        b'{"version": 1, "feeds": {"ticker": {"epoch": "e", "first_seq": 0, "last_id": "", "frames": ["%"]}}}',
        b'{"version": 1, "feeds": {"ticker": {"epoch": "e", "first_seq": 0, "frames": [], "last_id": "\xc4\x80"}}}',
        b'{"version": 1, "feeds": {"ticker": {"epoch": 7, "first_seq": 0, "last_id": "", "frames": []}}}',
        b'{"version": 1, "feeds": {"ticker": {"epoch": "e", "first_seq": "0", "last_id": "", "frames": []}}}',
        b'{"version": 1, "feeds": {"ticker": {"epoch": "e", "first_seq": -1, "last_id": "", "frames": []}}}',
        b'{"version": 1, "feeds": {"t": {"epoch": "e", "first_seq": 0, "last_id": "", "frames": [], "ids": []}}}',
        b'{"version": 1, "feeds": {"t": {"epoch": "e", "first_seq": 0, "last_id": "", "frames": [], "ids":{"":""}}}}',
        b'{"version": 1, "feeds": {"t": {"epoch": "e", "first_seq": 0, "last_id": "", "frames": [], "last_at": ""}}}',
    ],
)
def test_garbage_is_logged_and_removed_and_raises_nothing(
    content: bytes, storage: Path, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_bytes(content)
    assert take(storage) == {}
    assert not file.exists()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert caplog.messages == ["the rings of the feeds cannot be read"]


def test_half_a_file_is_garbage(storage: Path, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(storage, {"ticker": TICKER})
    file.write_bytes(file.read_bytes()[:-20])
    assert take(storage) == {}
    assert len(caplog.records) == 1


def test_the_file_of_another_version_is_removed_and_not_guessed_at(storage: Path, file: Path) -> None:
    save(storage, {"ticker": TICKER})
    fields = orjson.loads(file.read_bytes())
    file.write_bytes(orjson.dumps({**fields, "version": fields["version"] + 1}))
    assert take(storage) == {}
    assert not file.exists()
