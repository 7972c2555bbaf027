"""Settings shared by all tests."""

import hypothesis

# Failures must be reproducible: the same examples on every machine, and no deadline, which a busy
# machine would exceed.
hypothesis.settings.register_profile("nfinspect", derandomize=True, deadline=None)
hypothesis.settings.load_profile("nfinspect")
