"""Benchmarks of the container images."""
