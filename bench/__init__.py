"""Benchmarks: what the filter costs. README.md tells what is measured; RESULTS.md what came out."""
