"""Benchmarks, one script per question: `python -m benchmarks.NAME --help`."""
