"""Benchmarks of the HTTP gateway and of the page."""
