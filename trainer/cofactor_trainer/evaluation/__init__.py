"""Evaluate models: prediction error, ranking quality, baselines."""
