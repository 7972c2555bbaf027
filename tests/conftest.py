"""Settings shared by all tests."""

import os

import hypothesis
import pytest

# Pure Python is the reference, and never older than its source. Child processes of a test take the
# same form. script/test runs the tests in the compiled form, too.
os.environ.setdefault("NFINSPECT_FORM", "pure")

# Failures must be reproducible: the same examples on every machine, and no deadline, which a busy
# machine would exceed.
hypothesis.settings.register_profile("nfinspect", derandomize=True, deadline=None)
hypothesis.settings.load_profile("nfinspect")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, in the compiled form, the tests that only pure Python allows."""
    from nfinspect import FORM

    left_out = [item for item in items if FORM.compiled and item.get_closest_marker("pure")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """That nothing is left to run in this form is no failure."""
    from nfinspect import FORM

    if FORM.compiled and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK
