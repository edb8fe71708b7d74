"""The limit of open files caps the number of connections, and an operator is told."""

import resource

import pytest

from gateway.run import descriptors


def test_the_limit_is_raised_to_what_is_allowed() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert descriptors.raise_limit() == hard
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)


def test_a_limit_that_is_high_enough_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert descriptors.room_for_connections(100, 100 + descriptors.RESERVED) == 100
    assert not caplog.records


@pytest.mark.parametrize(("limit", "room"), [(99 + descriptors.RESERVED, 99), (1 + descriptors.RESERVED, 1), (10, 1)])
def test_a_lower_limit_caps_the_connections_with_a_warning(
    limit: int, room: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert descriptors.room_for_connections(100, limit) == room
    [line] = caplog.records
    assert (line.levelname, line.message) == ("WARNING", "max_connections is capped by the limit of open files")
    assert vars(line)["fields"] == {"max_connections": 100, "open_files": limit, "now": room}
