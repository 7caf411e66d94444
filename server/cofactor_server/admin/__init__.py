"""Serve the admin API: list versions, poll the repository, and move labels."""
