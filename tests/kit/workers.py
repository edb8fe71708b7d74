"""How the tests are shared out to the workers of pytest-xdist, so that no work is done by each of them.

Every worker collects all tests, and loads what another has compiled: so each begins with another folder. The tests of
a file stay on one worker, which builds their fixtures once. The files that take longest come first, so that the
workers end together.
"""

import gc
import os
from collections.abc import Generator
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

TESTS = Path(__file__).parent.parent
GUARDS = "guards"  # they count what happens in a process, so that no two of them may run at the same time
# The units that take longest, the longest first; units that wait stand between units that work.
LONG_ONES = (
    *("cases/test_hostile_answers", "clients/test_dashboard", "deploy/test_install", GUARDS),
    *("cases/test_hostile_requests", "clients/test_answer_cases", "process/test_commands", "clients/test_errors"),
    *("cases/test_long_answers", "process/test_supervision", "process/test_ledger_faults", "cases/test_patience"),
    *("process/test_restart", "process/test_tracing", "completion/test_faults_in_settlement", "process/test_top"),
    *("process/test_open_files", "http/test_streams", "clients/test_rebinding", "clients/test_node"),
    *("http/test_ttft", "process/test_drain", "clients/test_dashboard_states"),
    *("http/test_two_ways", "clients/test_keys", "delivery/test_in_step_machine"),
)
OBJECTS = 50_000  # between two rounds of the collector; a test that looks for garbage collects it itself
_PLACES = {unit: place for place, unit in enumerate(LONG_ONES)}


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False  # the order is that of `pytest_collection_modifyitems`


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Let each worker begin with another folder."""
    report = yield
    if collector.path == TESTS and report.result:
        number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
        first = len(report.result) * number // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
        report.result = [*report.result[first:], *report.result[:first]]
    return report


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector the tests, which live as long as the process, and most of its rounds."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(OBJECTS, *gc.get_threshold()[1:])
        gc.enable()


_file_before: list[Path] = []  # the file of the test that ran last


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Spare the garbage collector the tests again: a service that ends lets it look at everything (`gc.unfreeze`).

    Once a file, since what is garbage at this moment is never freed. Nobody asks whether it is needed: to count what
    is set apart (`gc.get_freeze_count`) takes 30 ms, to set it apart nothing.
    """
    if _file_before != [item.path]:
        _file_before[:] = [item.path]
        gc.collect(1)
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the units that take longest first."""
    items.sort(key=lambda item: (_PLACES.get(unit_of(item.nodeid), len(_PLACES)), item.path))


class ByUnit(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Gives a worker one unit after the other."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist nobody asks
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByUnit | None:
    """Share out by unit where groups are asked for: pytest-xdist 3.8 finds no groups with pytest 9.2."""
    return ByUnit(config, log) if config.getvalue("dist") == "loadgroup" else None


def unit_of(nodeid: str) -> str:
    """The tests that stay on one worker: those of a file, or all guards."""
    file = nodeid.partition("::")[0].removeprefix("tests/").removesuffix(".py")
    return GUARDS if file.startswith(f"{GUARDS}/") else file
