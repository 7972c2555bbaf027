"""Attacks of the literature on filters that read TCP streams, as data.

``catalogue`` holds them; ``test_model`` plays them through the engine to servers of every overlap
policy, ``test_linux`` through the live filter to a Linux server; docs/attacks.md is printed from
them by ``python -m tests.attacks.document``.
"""
