"""Make the tables of the items that an overlay adds: a small version directory in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cofactor.v1.manifest_pb2 import Manifest
from cofactor.v1.overlay_pb2 import AddedItem
from cofactor_server.arrays import AnyArray, FloatArray, IndexArray, typed_table
from cofactor_server.repository.overlays.attribute_tables import attribute_tables, strings
from cofactor_server.repository.version_directory import VersionDirectory

# As in the trainer's export/item_effects.py.
SHRINKAGE = 5.0
Float64Array = npt.NDArray[np.float64]
# Users whose mean stands for that of all users. More would not change the bias of an item visibly, and take a second.
_MOST_USERS = 65_536


class AddedTables:
    """Makes the tables of added items of one dot-product version."""

    def __init__(self, directory: VersionDirectory) -> None:
        self._directory = directory
        self._mean_user: Float64Array | None = None

    def make(self, items: Sequence[AddedItem]) -> VersionDirectory:
        """Return a version directory with these items, which must be valid, as its only ones.

        It has the tables of items, with a last row of zeros where the version has that of the unknown item, and no
        tables of users, graphs or files.
        """
        manifest = Manifest()
        manifest.CopyFrom(self._directory.manifest)
        manifest.item_count = len(items)
        embeddings = [item.embedding for item in items]
        unknown = [0.0] * manifest.item_factor_count
        factors: FloatArray = np.array([*(list(e.factors) for e in embeddings), unknown], dtype=np.float32)
        bias = np.array([*(e.bias for e in embeddings), 0], dtype=np.float32)
        counts = np.array([e.rating_count for e in embeddings], dtype=np.int64)
        tables: dict[str, AnyArray] = {
            "item_factors": factors,
            "item_bias": bias,
            "item_inverse_norms": _inverse_norms(factors, has_bias_column=manifest.ranking_factor_count > 0),
            "item_log_popularity": np.append(np.log1p(counts), 0).astype(np.float32),
            "item_rating_counts": counts,
            "item_release_years": np.array([item.item.release_year for item in items], dtype=np.int32),
            **strings("item_ids", [item.item.item_id for item in items]),
            **strings("item_titles", [item.item.title for item in items]),
            **_genres([item.item.genres for item in items]),
            **attribute_tables(manifest.item_attributes, [item.item for item in items]),
        }
        if "item_effect" in self._directory.tables:
            tables["item_effect"] = self._effects(factors[:-1], bias[:-1], counts)
        return VersionDirectory(self._directory.path, manifest, tables)

    def _effects(self, factors: FloatArray, bias: FloatArray, counts: IndexArray) -> FloatArray:
        """Return how much users like each item regardless of their taste, as docs/model-format.md defines item_effect.

        The mean logit of all ratings is that of the most rated item less what its own effect says.
        """
        if len(counts) == 0:
            return np.zeros(0, dtype=np.float32)
        tables = self._directory.tables
        all_counts = typed_table(tables, "item_rating_counts", np.int64)
        row = int(np.argmax(all_counts))
        count = float(all_counts[row])
        if count == 0:
            return np.zeros(len(counts), dtype=np.float32)
        all_factors, all_bias = (typed_table(tables, f"item_{name}", np.float32) for name in ("factors", "bias"))
        logit = self._mean_logits(all_factors[row : row + 1], all_bias[row : row + 1])[0]
        own_effect = float(typed_table(tables, "item_effect", np.float32)[row])
        mean = logit - own_effect * (count + SHRINKAGE) / count
        effects: Float64Array = (self._mean_logits(factors, bias) - mean) * counts / (counts + SHRINKAGE)
        return effects.astype(np.float32)

    def _mean_logits(self, factors: FloatArray, bias: FloatArray) -> Float64Array:
        """Return the mean logits of items over the users, but for what all items have: (n, q), (n,) -> (n,)."""
        n_dot = int(self._directory.manifest.user_factor_count - self._directory.manifest.ranking_factor_count)
        if self._mean_user is None:
            users = self._directory.tables["user_factors"][:-1, :n_dot]
            step = -(-len(users) // _MOST_USERS)
            self._mean_user = users[::step].astype(np.float64).mean(0)
        logits: Float64Array = factors[:, :n_dot].astype(np.float64) @ self._mean_user + bias
        return logits


def _inverse_norms(factors: FloatArray, *, has_bias_column: bool) -> FloatArray:
    lengths = np.linalg.norm(factors[:, :-1] if has_bias_column else factors, axis=1)
    inverse: FloatArray = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return inverse


def _genres(genres: Sequence[Sequence[str]]) -> Mapping[str, AnyArray]:
    """Return the tables of the genres of every item."""
    names = sorted({name for own in genres for name in own})
    numbers = {name: number for number, name in enumerate(names)}
    lists = [sorted({numbers[name] for name in own}) for own in genres]
    return {
        **strings("genre_names", names),
        "item_genres.offsets": np.concatenate([[0], np.cumsum([len(own) for own in lists])]).astype(np.int64),
        "item_genres.indices": np.array([number for own in lists for number in own], dtype=np.int32),
    }
