"""The map of a version's items, which the trainer has drawn: most rated items first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cofactor.v1.manifest_pb2 import Manifest, MapLabel
from cofactor_server.arrays import AnyArray, typed_table


class ItemMap:
    """The places of the most rated items.

    Attributes:
        rows: (m,) rows of the items, most rated first.
        places: (m, 2) from -1 to 1, left to right and bottom to top.
        labels: names of regions.
    """

    def __init__(self, tables: Mapping[str, AnyArray], manifest: Manifest) -> None:
        self.rows = typed_table(tables, "item_map.rows", np.int32)
        self.places = typed_table(tables, "item_map", np.float32)
        self.labels: tuple[MapLabel, ...] = tuple(manifest.item_map_labels)


def read_item_map(tables: Mapping[str, AnyArray], manifest: Manifest) -> ItemMap | None:
    """Return the map of a version; None if it was exported without one."""
    return ItemMap(tables, manifest) if "item_map" in tables else None
