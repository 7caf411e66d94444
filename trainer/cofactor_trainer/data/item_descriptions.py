"""Describe items by title, genres and release year."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cofactor_trainer.data.dataset import Catalogue

_TITLE_YEAR = re.compile(r"\((\d{4})(?:[-\u2013]\d{0,4})?\)\s*$")


@dataclass(frozen=True)
class ItemDescription:
    """Title, genres and release year of one item; 0 is an unknown year."""

    title: str = ""
    genres: tuple[str, ...] = ()
    release_year: int = 0


def build_catalogue(item_ids: Sequence[str], descriptions: Mapping[str, ItemDescription]) -> Catalogue:
    """Build the catalogue of ``item_ids``; items without a description get an empty one."""
    empty = ItemDescription()
    items = [descriptions.get(item_id, empty) for item_id in item_ids]
    return Catalogue(
        item_ids=item_ids,
        titles=[item.title for item in items],
        genres=[item.genres for item in items],
        release_years=np.array([item.release_year for item in items], dtype=np.int64),
    )


def unrated_items(item_ids: Sequence[str], descriptions: Mapping[str, ItemDescription]) -> Catalogue | None:
    """Build the catalogue of the described items that are not among ``item_ids``; None if there are none."""
    others = sorted(descriptions.keys() - set(item_ids) - {""})
    return build_catalogue(others, descriptions) if others else None


def year_of_title(title: str) -> int:
    """Return the year at the end of a title such as "Toy Story (1995)", or 0 if there is none."""
    found = _TITLE_YEAR.search(title)
    return int(found.group(1)) if found else 0


def split_genres(text: str) -> tuple[str, ...]:
    """Split "Adventure|Children" into genres; "" and "(no genres listed)" have none."""
    return tuple(g for g in (part.strip() for part in text.split("|")) if g and g != "(no genres listed)")
