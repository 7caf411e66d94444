"""Compute how many users fit into one run of the recommend graph."""

from __future__ import annotations

from cofactor_server.repository.version_directory import VersionDirectory

# Largest size of the intermediate results of one run.
RUN_BYTES = 256 * 2**20


def floats_per_user(directory: VersionDirectory) -> int:
    """Return how many float32 numbers a run computes for a user.

    These are the scores of all items or, for a network, the hidden layer before them. Large catalogues of dot products
    are scored in parts: only the maxima of blocks of 16 items are stored, several times.
    """
    n_items = int(directory.manifest.item_count)
    hidden = directory.tables.get("item_hidden")
    if hidden is not None:
        return n_items * int(hidden.shape[1])
    in_parts = "item_columns" in directory.tables or "item_codes" in directory.tables
    return n_items // 4 if in_parts else n_items


def users_per_run(floats: int) -> int:
    """Return how many users fit into one run if each needs two float32 arrays of this length."""
    return max(1, RUN_BYTES // (2 * 4 * floats))
