"""Settings shared by all tests."""

import os

import hypothesis

# Pure Python is the reference, and never older than its source. Child processes of a test take the
# same form. script/test runs the tests in the compiled form, too.
os.environ.setdefault("NFINSPECT_FORM", "pure")

# Failures must be reproducible: the same examples on every machine, and no deadline, which a busy
# machine would exceed.
hypothesis.settings.register_profile("nfinspect", derandomize=True, deadline=None)
hypothesis.settings.load_profile("nfinspect")
