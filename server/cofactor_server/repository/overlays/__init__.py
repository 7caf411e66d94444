"""Overlays in the model repository: their files, their checks, and the tables of the items that they add."""
