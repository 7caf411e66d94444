"""The map of a version's items, which the trainer has drawn: most rated items first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cofactor.v1.manifest_pb2 import Manifest, MapLabel
from cofactor_server.arrays import AnyArray, FloatArray, IndexArray, Int32Array, typed_table


class ItemMap:
    """The places of the most rated items.

    Attributes:
        rows: (m,) rows of the items, most rated first.
        places: (m, 2) from -1 to 1, left to right and bottom to top.
        labels: names of regions.
    """

    def __init__(self, rows: Int32Array, places: FloatArray, labels: tuple[MapLabel, ...]) -> None:
        self.rows = rows
        self.places = places
        self.labels = labels

    def without(self, removed_rows: IndexArray) -> ItemMap:
        """Return the map without some items, whose rows ascend."""
        stays = ~np.isin(self.rows, removed_rows)
        return ItemMap(self.rows[stays], self.places[stays], self.labels)


def read_item_map(tables: Mapping[str, AnyArray], manifest: Manifest) -> ItemMap | None:
    """Return the map of a version; None if it was exported without one."""
    if "item_map" not in tables:
        return None
    rows, places = typed_table(tables, "item_map.rows", np.int32), typed_table(tables, "item_map", np.float32)
    return ItemMap(rows, places, tuple(manifest.item_map_labels))
