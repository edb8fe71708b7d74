"""Rules for every test: in CI nothing is skipped silently, and tests that share something run on one worker."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.kit.fixtures"]

# The profiles of Hypothesis, chosen by HYPOTHESIS_PROFILE, have no deadline: a slow machine is no fault of the code.
_ANYWHERE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", _ANYWHERE, max_examples=50, stateful_step_count=30)
settings.register_profile("deep", _ANYWHERE, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

IN_CI = os.environ.get("CI") == "true"
TESTS = Path(__file__).parent
ONE_GATEWAY_A_FILE = {"http", "clients"}  # folders in which the tests of a file share a gateway
ONE_PROVIDER_A_FILE = {"test_tracing"}

_Report = TypeVar("_Report", pytest.TestReport, pytest.CollectReport)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Name the groups that pytest-xdist keeps on one worker (`--dist loadgroup`)."""
    for item in items:
        if group := _group_of(item.path):
            item.add_marker(pytest.mark.xdist_group(group))


def _group_of(file: Path) -> str | None:
    folder = file.relative_to(TESTS).parts[0]
    if folder == "guards":
        return folder  # guards count what happens in a process, so that no two guards may run at the same time
    if folder in ONE_GATEWAY_A_FILE or file.stem in ONE_PROVIDER_A_FILE:
        return f"{folder}/{file.stem}"
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _failed_if_skipped_in_ci((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _failed_if_skipped_in_ci((yield))


def _failed_if_skipped_in_ci(report: _Report) -> _Report:
    """Turn a skip into a failure in CI, where everything that the tests need is installed."""
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where nothing may be: {reason}"
    return report
