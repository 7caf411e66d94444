"""Observe the server: counters, Prometheus metrics, logs and traces."""
