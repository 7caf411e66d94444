"""Typed columns of item attributes."""
