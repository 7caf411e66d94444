"""Make overlays whose effect is known: an added item is the twin of an item of the version, under another id."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cofactor.v1.model_pb2 import Item
from cofactor.v1.overlay_pb2 import AddedItem, Overlay, OverlayFile
from cofactor.v1.recommender_pb2 import ItemEmbedding
from cofactor_trainer.export.version_reader import read_version


class Twins:
    """Makes overlays of one version.

    Attributes:
        item_ids: ids of the version's items by row.
    """

    def __init__(self, version: Path) -> None:
        self._version = read_version(version)
        self._path = version
        self.item_ids = self._version.strings("item_ids")

    def twin(self, item_id: str, new_id: str, *, bias: float = 0.0, title: str = "", **item: object) -> AddedItem:
        """Return a new item with the row of an item of the version, and with its bias raised by a number."""
        row, tables = self.item_ids.index(item_id), self._version.tables
        return AddedItem(
            item=Item(item_id=new_id, title=title or f"Twin of {item_id}", **item),
            embedding=ItemEmbedding(
                factors=tables["item_factors"][row].tolist(),
                bias=float(tables["item_bias"][row]) + bias,
                embedding_space=self._version.manifest.embedding_space,
                rating_count=int(tables["item_rating_counts"][row]),
            ),
        )

    def overlay(self, sequence: int, added: list[AddedItem] = (), removed: list[str] = (), **fields: object) -> Overlay:
        """Return an overlay of the version; `fields` replace its own."""
        manifest = self._version.manifest
        own = {"name": self._path.parent.name, "version": self._path.name, "embedding_space": manifest.embedding_space}
        return Overlay(**{**own, "sequence": sequence, "added_items": added, "removed_item_ids": removed, **fields})


def publish(models: Path, overlay: Overlay, *, sha256: bytes | None = None, sequence: int | None = None) -> Path:
    """Write the file of an overlay under another name, then rename it."""
    content = overlay.SerializeToString()
    file = OverlayFile(overlay=content, sha256=sha256 or hashlib.sha256(content).digest())
    folder = models / overlay.name / "overlays" / overlay.version
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / ".new.tmp"
    temporary.write_bytes(file.SerializeToString())
    return temporary.rename(folder / f"{sequence or overlay.sequence}.binpb")
