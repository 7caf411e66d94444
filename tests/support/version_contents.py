"""Read what a version directory says about users and items, by their ids."""

from __future__ import annotations

import numpy as np

from cofactor_trainer.export.version_reader import ExportedVersion


def rated_pairs(version: ExportedVersion) -> set[tuple[str, str]]:
    """Return the (user id, item id) pairs that Recommend leaves out."""
    users, items = version.strings("user_ids"), version.strings("item_ids")
    offsets = version.tables["rated.offsets"]
    user_rows = np.repeat(np.arange(len(users)), np.diff(offsets))
    pairs = zip(user_rows.tolist(), version.tables["rated.item_rows"].tolist(), strict=True)
    return {(users[user], items[item]) for user, item in pairs}
