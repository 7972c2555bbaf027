"""Random policies and random connections: what `policy.classify` says, against what the rules of the policy
do to real packets, in namespaces; ``python -m tests.classification`` as root."""
