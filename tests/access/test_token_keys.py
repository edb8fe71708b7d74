"""The signing keys stand in one private file, which is made once; no fault of the file tells a secret."""

import multiprocessing
import os
import stat
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from gateway.access.token_keys import SUFFIX, load
from gateway.access.viewer_token import SigningKey, ViewerToken, mint, verify
from gateway.errors import AuthenticationFailed, ConfigError

SECRET = "5ec2e7" * 11
OTHER = "0b5c0e" * 11
STARTERS = 6


def written(folder: Path, text: str | bytes) -> Path:
    """A storage path with this file of keys beside it."""
    file = folder / ("gate.db" + SUFFIX)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    file.chmod(0o600)
    return folder / "gate.db"


def file_of(storage: Path) -> Path:
    return storage.with_name(storage.name + SUFFIX)


def test_the_first_start_makes_a_key_that_the_next_one_finds(tmp_path: Path) -> None:
    first = load(tmp_path / "gate.db")
    assert len(first) == 1
    assert load(tmp_path / "gate.db") == first


def test_two_installations_have_different_keys(tmp_path: Path) -> None:
    key, other = load(tmp_path / "one.db")[0], load(tmp_path / "other.db")[0]
    assert key.secret != other.secret
    assert key.id != other.id


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_owner_may_read_the_file(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        load(tmp_path / "gate.db")
    finally:
        os.umask(before)
    assert stat.S_IMODE(file_of(tmp_path / "gate.db").stat().st_mode) == 0o600


def test_nothing_but_the_file_is_left_in_the_folder(tmp_path: Path) -> None:
    load(tmp_path / "gate.db")
    assert [path.name for path in tmp_path.iterdir()] == ["gate.db" + SUFFIX]


def test_the_keys_are_read_in_order_and_the_first_one_signs(tmp_path: Path) -> None:
    storage = written(tmp_path, f"new {SECRET}\nold {OTHER}\n")
    assert load(storage) == [SigningKey("new", bytes.fromhex(SECRET)), SigningKey("old", bytes.fromhex(OTHER))]


def test_a_line_on_top_rotates_and_a_line_less_revokes(tmp_path: Path) -> None:
    storage = tmp_path / "gate.db"
    token = mint(ViewerToken("stream:a", 200), load(storage)[0])
    file = file_of(storage)
    file.write_text(f"fresh {SECRET}\n{file.read_text()}")
    rotated = load(storage)
    assert rotated[0].id == "fresh"
    assert verify(token, rotated, "stream:a", 100).expires_at == 200
    file.write_text(f"fresh {SECRET}\n")
    with pytest.raises(AuthenticationFailed):
        verify(token, load(storage), "stream:a", 100)


@pytest.mark.parametrize("text", [f"k {SECRET}", f"k {SECRET}\r\n", f"  k\t{SECRET.upper()}  \n"])
def test_line_ends_and_blanks_do_not_matter(tmp_path: Path, text: str) -> None:
    assert load(written(tmp_path, text)) == [SigningKey("k", bytes.fromhex(SECRET))]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        f"{SECRET}\n",
        f"k {SECRET[:62]}\n",
        f"k {SECRET[:-1]}\n",
        f"k {SECRET}zz\n",
        f"k {SECRET} more\n",
        f"K {SECRET}\n",
        f"k_1 {SECRET}\n",
        f"k {SECRET}\n\nl {OTHER}\n",
        f"k {SECRET}\nk {OTHER}\n",
        f"k {SECRET}\nl {SECRET}é\n",
        b"k \xff\xfe" + SECRET.encode(),
        b"\0" * 100,
    ],
)
def test_a_bad_file_is_a_fault_that_names_it_and_shows_no_secret(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text))
    assert "storage.path" in str(caught.value)
    assert SUFFIX in str(caught.value)
    chain: BaseException | None = caught.value
    while chain is not None:
        for secret in (SECRET, OTHER):
            assert secret[:12].lower() not in str(chain).lower()
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)


def test_a_bad_file_stays_as_it_is(tmp_path: Path) -> None:
    storage = written(tmp_path, "nonsense")
    with pytest.raises(ConfigError):
        load(storage)
    assert file_of(storage).read_text() == "nonsense"


def test_a_folder_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot create"):
        load(tmp_path / "missing" / "gate.db")


def test_a_folder_in_place_of_the_file_is_a_fault(tmp_path: Path) -> None:
    file_of(tmp_path / "gate.db").mkdir()
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path / "gate.db")


def start(storage: Path, barrier: Barrier, found: "multiprocessing.Queue[tuple[str, bytes]]") -> None:
    barrier.wait()
    key = load(storage)[0]
    found.put((key.id, key.secret))


def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    spawning = multiprocessing.get_context("fork")
    for round_number in range(5):
        storage = tmp_path / f"{round_number}.db"
        barrier, found = spawning.Barrier(STARTERS), spawning.Queue()
        starters = [spawning.Process(target=start, args=(storage, barrier, found)) for _ in range(STARTERS)]
        for starter in starters:
            starter.start()
        keys = {found.get(timeout=10) for _ in starters}
        for starter in starters:
            starter.join(10)
        assert keys == {(key.id, key.secret) for key in load(storage)}
    assert len(list(tmp_path.iterdir())) == 5


def test_a_file_left_by_a_process_that_died_in_the_middle_does_not_stop_the_next(tmp_path: Path) -> None:
    """In a container every start has the same process id."""
    storage = tmp_path / "gate.db"
    storage.with_name(f"{storage.name}{SUFFIX}.{os.getpid()}").write_text("half a k")
    assert len(load(storage)) == 1
