"""Refresh a version with new data: start from its rows, move those that the new data concerns."""
