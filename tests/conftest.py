"""Rules for every test: in CI nothing is skipped silently."""

import os
import signal
from collections.abc import Generator
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.kit.fixtures", "tests.kit.workers"]

# The profiles of Hypothesis, chosen by HYPOTHESIS_PROFILE, have no deadline: a slow machine is no fault of the code.
_ANYWHERE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", _ANYWHERE, max_examples=50, stateful_step_count=30)
settings.register_profile("deep", _ANYWHERE, max_examples=500)
settings.register_profile("fast", _ANYWHERE, max_examples=8, stateful_step_count=12)  # of `just test-fast`
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# A shell without job control has what runs behind it ignore this signal, and so would all processes of the tests.
signal.signal(signal.SIGINT, signal.default_int_handler)

IN_CI = os.environ.get("CI") == "true"

_Report = TypeVar("_Report", pytest.TestReport, pytest.CollectReport)


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
