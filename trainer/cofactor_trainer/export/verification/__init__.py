"""Verify exported graphs against torch before a version is published."""
