"""What all suites share."""

import hypothesis

# A failure must come again where it is looked for: the same examples on every machine, and no
# limit in time, which a busy one would break.
hypothesis.settings.register_profile("nfinspect", derandomize=True, deadline=None)
hypothesis.settings.load_profile("nfinspect")
