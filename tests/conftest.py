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

LEFT_OUT = pytest.StashKey[int]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that only the other form allows."""
    from nfinspect import FORM

    other = "pure" if FORM.compiled else "compiled"
    left_out = [item for item in items if item.get_closest_marker(other)]
    if left_out:
        config.stash[LEFT_OUT] = len(left_out)
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """That all tests asked for are left out is no failure."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and session.config.stash.get(LEFT_OUT, 0):
        session.exitstatus = pytest.ExitCode.OK
