"""The faults of a configuration: each is one printable line, and repeats no more than it may."""

from pathlib import Path

from gateway.config.faults import MAX_SHOWN_CHARACTERS

from .toml import MINIMAL, faults, server_fault


def test_a_fault_is_one_printable_line_whatever_the_file_holds(tmp_path: Path) -> None:
    [fault] = faults(tmp_path, '"\\u2028\\u001b[31m" = 1\n' + MINIMAL)
    assert fault == '"\\u2028\\u001b[31m": unknown key'


def test_a_value_is_repeated_up_to_a_length_and_cut_beyond_it(tmp_path: Path) -> None:
    room = MAX_SHOWN_CHARACTERS - len('""')
    assert server_fault(tmp_path, f'listen = "{"x" * room}"').endswith(f'(is "{"x" * room}")')
    assert server_fault(tmp_path, f'listen = "{"x" * (room + 1)}"').endswith(f'(is "{"x" * (room + 1)}...)')
