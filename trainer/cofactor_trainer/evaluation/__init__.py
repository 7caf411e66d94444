"""Measure models: prediction error, ranking quality, baselines."""
