"""Measure Cofactor and its peers, one script per question: `python -m benchmarks.NAME --help`."""
