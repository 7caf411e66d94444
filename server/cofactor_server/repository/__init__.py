"""Read a model repository: list, verify, copy and watch version directories."""
