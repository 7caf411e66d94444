"""How much memory the recommend graph takes for a user, and so how many users fit into one of its runs."""

from __future__ import annotations

from cofactor_server.repository.version_directory import VersionDirectory

# What one run may take for its intermediate results.
RUN_BYTES = 256 * 2**20


def floats_per_user(bundle: VersionDirectory) -> int:
    """float32 numbers: the scores of all items, or a network's hidden layer before them.

    Large catalogues of dot products are scored in parts, of which only the maxima of blocks of 16 items are kept, some
    times over.
    """
    n_items = int(bundle.manifest.item_count)
    hidden = bundle.tables.get("item_hidden")
    if hidden is not None:
        return n_items * int(hidden.shape[1])
    in_parts = "item_columns" in bundle.tables or "item_codes" in bundle.tables
    return n_items // 4 if in_parts else n_items


def users_per_run(floats: int) -> int:
    """Users that fit into one run, of which each takes two arrays of so many numbers."""
    return max(1, RUN_BYTES // (2 * 4 * floats))
