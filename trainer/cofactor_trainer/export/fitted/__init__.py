"""Fit what a version says beside its scores: probabilities, and how much the latest events count."""
