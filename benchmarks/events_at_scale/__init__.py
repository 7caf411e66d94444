"""Measure training on millions of events."""
