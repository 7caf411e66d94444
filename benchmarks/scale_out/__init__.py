"""Simulate many servers, check the simulation against a few real ones, and plan for the internet (docs/scale.md)."""
