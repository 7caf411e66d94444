"""Check an overlay against the version that it is for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cofactor.v1.manifest_pb2 import Manifest
from cofactor.v1.overlay_pb2 import AddedItem, Overlay
from cofactor_server.errors import quoted
from cofactor_server.repository.overlays.attribute_tables import attribute_problem

MOST_ADDED_ITEMS = 10_000
MOST_REMOVED_ITEMS = 100_000
# Far beyond any trained factor, and small enough that products of two stay finite.
LARGEST_FACTOR = 1e6
LARGEST_COUNT = 10**12
LONGEST_TEXT = 10_000  # characters of an id, a title or all genres
MOST_GENRES = 100


class OverlayError(ValueError):
    """An overlay is invalid; str() is one sentence for the operator.

    Attributes:
        field: path of the field at fault, such as "added_items[2].item.item_id".
        problem: the rest of the sentence.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


def check_overlay(overlay: Overlay, manifest: Manifest, row_of: Callable[[str], int | None]) -> None:
    """Raise OverlayError unless the overlay fits the version; `row_of` returns the row of an id of the version."""
    _check_limit(overlay.added_items, "added_items", MOST_ADDED_ITEMS)
    _check_limit(overlay.removed_item_ids, "removed_item_ids", MOST_REMOVED_ITEMS)
    for name in ("name", "version", "embedding_space"):
        expected, found = getattr(manifest, name), getattr(overlay, name)
        if found != expected:
            raise OverlayError(name, f"is {quoted(found)}, and that of the version is {quoted(expected)}")
    removed = _check_removed(overlay.removed_item_ids, row_of)
    if len(removed) >= manifest.item_count + len(overlay.added_items):
        raise OverlayError("removed_item_ids", "leaves no item to serve; keep at least one")
    if overlay.added_items and manifest.architecture != "dot-product":
        raise OverlayError("added_items", f"a version of architecture {manifest.architecture} takes no added items")
    types = {column.name: column.type for column in manifest.item_attributes}
    first: dict[str, int] = {}
    for index, added in enumerate(overlay.added_items):
        field, item_id = f"added_items[{index}]", added.item.item_id
        _check_item(added, field)
        wrong = attribute_problem(added.item, types)
        if wrong is not None:
            raise OverlayError(f"{field}.item.attributes[{quoted(wrong[0])}]", wrong[1])
        if first.setdefault(item_id, index) != index:
            raise OverlayError(
                f"{field}.item.item_id", f"{quoted(item_id)} is that of added_items[{first[item_id]}] too"
            )
        if row_of(item_id) is not None and item_id not in removed:
            raise OverlayError(
                f"{field}.item.item_id",
                f"{quoted(item_id)} is an item of the version; remove the item as well to replace it",
            )
        _check_embedding(added, f"{field}.embedding", manifest)
    _check_numbers(overlay.added_items)


def _check_limit(entries: Sequence[object], field: str, limit: int) -> None:
    if len(entries) > limit:
        raise OverlayError(field, f"has {len(entries)} entries, and at most {limit} are allowed; train a new version")


def _check_removed(item_ids: Sequence[str], row_of: Callable[[str], int | None]) -> set[str]:
    for index, item_id in enumerate(item_ids):
        if row_of(item_id) is None:
            raise OverlayError(f"removed_item_ids[{index}]", f"{quoted(item_id)} is not an item of the version")
    removed = set(item_ids)
    if len(removed) != len(item_ids):
        raise OverlayError("removed_item_ids", "names an item twice")
    return removed


def _check_item(added: AddedItem, field: str) -> None:
    item = added.item
    if not item.item_id:
        raise OverlayError(f"{field}.item.item_id", "is empty; give the item an id")
    if item.release_year < 0:
        raise OverlayError(f"{field}.item.release_year", "is below 0; leave it out if it is not known")
    if len(item.genres) > MOST_GENRES:
        raise OverlayError(
            f"{field}.item.genres", f"has {len(item.genres)} entries, and at most {MOST_GENRES} are allowed"
        )
    if "" in item.genres:
        raise OverlayError(f"{field}.item.genres", "has an empty entry; name a genre")
    for name, text in (("item_id", item.item_id), ("title", item.title), ("genres", "".join(item.genres))):
        if len(text) > LONGEST_TEXT:
            raise OverlayError(f"{field}.item.{name}", f"has more than {LONGEST_TEXT} characters; shorten it")


def _check_embedding(added: AddedItem, field: str, manifest: Manifest) -> None:
    embedding = added.embedding
    if embedding.embedding_space != manifest.embedding_space:
        raise OverlayError(
            f"{field}.embedding_space", "is that of another version; call EmbedNewItem on the version of the overlay"
        )
    if len(embedding.factors) != manifest.item_factor_count:
        problem = f"has {len(embedding.factors)} numbers; this version takes {manifest.item_factor_count}"
        raise OverlayError(f"{field}.factors", problem)
    if not 0 <= embedding.rating_count <= LARGEST_COUNT:
        raise OverlayError(
            f"{field}.rating_count", f"must be from 0 to {LARGEST_COUNT:g}, not {embedding.rating_count}"
        )


def _check_numbers(items: Sequence[AddedItem]) -> None:
    """Raise OverlayError for a factor or a bias that is NaN or too large; all items together, which is faster."""
    if not items:
        return
    numbers = np.array([[*item.embedding.factors, item.embedding.bias] for item in items], dtype=np.float32)
    is_allowed = np.abs(numbers) <= LARGEST_FACTOR  # False for NaN
    if is_allowed.all():
        return
    row, column = np.unravel_index(int(np.argmin(is_allowed)), is_allowed.shape)
    name = "bias" if column == numbers.shape[1] - 1 else f"factors[{column}]"
    problem = f"must be a number from {-LARGEST_FACTOR:g} to {LARGEST_FACTOR:g}"
    raise OverlayError(f"added_items[{row}].embedding.{name}", problem)
