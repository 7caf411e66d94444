"""Measure what an overlay costs."""
