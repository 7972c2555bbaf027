"""Benchmarks: what the filter costs. README.md explains what is measured; RESULTS.md has the figures."""
