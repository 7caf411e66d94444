"""Measure the cost of the feedback log."""
