"""Where the tests run, and what the summary line says about tests that need a GPU, PyTorch or real data."""

import os
from pathlib import Path

import pytest

import pycnn

DEVICE = os.environ.get("PYCNN_TEST_DEVICE", "cpu")


@pytest.fixture(scope="session", autouse=True)
def _programs_run_the_package_under_test(tmp_path_factory):
    """A program started in the checkout would import its pycnn/, which an installed package under test is not built in."""
    here, path = Path.cwd(), os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(pycnn.__file__).parents[1]), path]))
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    yield
    os.chdir(here)


@pytest.fixture(autouse=True)
def _device_and_seed():
    """Every test starts on the device under test and from the same seed."""
    pycnn.set_default_device(DEVICE)
    pycnn.manual_seed(0)


def pytest_terminal_summary(terminalreporter):
    """Say what was skipped and why, once per reason."""
    reasons: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        reasons[reason] = reasons.get(reason, 0) + 1
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"skipped {count}: {reason}")
