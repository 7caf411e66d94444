"""Say which version a warm start began with."""

from __future__ import annotations

from dataclasses import dataclass

from cofactor.v1 import manifest_pb2


@dataclass(frozen=True)
class Lineage:
    """The version that a warm start began with.

    Attributes:
        version: name of that version.
        warm_starts: number of warm starts since the last full training, this one included.
        embedding_space: fingerprint that the new version shares with that one, because no row of an item that both
            know has changed; None if the new version has an embedding space of its own.
    """

    version: str
    warm_starts: int
    embedding_space: str | None

    def describe(self, manifest: manifest_pb2.Manifest) -> None:
        """Add the lineage to the manifest of the new version."""
        manifest.warm_started_from = self.version
        manifest.warm_start_count = self.warm_starts
        if self.embedding_space is not None:
            manifest.embedding_space = self.embedding_space
