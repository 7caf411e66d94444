"""Measure and log: counters, Prometheus metrics, logs, traces."""
