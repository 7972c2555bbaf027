"""Attacks from the literature on filters that read TCP streams, as data.

``catalogue`` lists them; ``test_model`` plays them through the engine to servers with every overlap
policy, ``test_linux`` through the live filter to a Linux server; ``python -m tests.attacks.document``
prints docs/attacks.md from them.
"""
