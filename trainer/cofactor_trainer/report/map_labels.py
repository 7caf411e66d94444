"""Choose the labels and the colours of the map of the items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from cofactor_trainer.evaluation.error_groups import Float64Array

# The map in pixels, and the size of a label on it.
_WIDTH, _HEIGHT = 900.0, 540.0
_CHARACTER_WIDTH, _LINE_HEIGHT = 6.5, 16.0
OTHER_GENRES = "other"


def choose_labels(coordinates: Float64Array, titles: Sequence[str], n_most: int) -> list[bool]:
    """Return True for the items to label: the first ones, without those whose label would overlap an earlier one.

    coordinates (n, 2); at most n_most items are labelled.
    """
    spread = np.maximum(np.ptp(coordinates, axis=0), 1e-12)
    places = (coordinates - coordinates.min(0)) / spread * (_WIDTH, _HEIGHT)
    labelled: list[int] = []
    for item, (place, title) in enumerate(zip(places, titles, strict=True)):
        if len(labelled) == n_most:
            break
        if not any(_overlap(place, title, places[other], titles[other]) for other in labelled):
            labelled.append(item)
    return [item in set(labelled) for item in range(len(titles))]


def _overlap(place: Float64Array, title: str, other_place: Float64Array, other_title: str) -> bool:
    across, down = np.abs(place - other_place)
    return bool(across < _CHARACTER_WIDTH * (len(title) + len(other_title)) / 2 and down < _LINE_HEIGHT)


def group_by_genre(genres: Sequence[Sequence[str]], n_most: int) -> list[str]:
    """Return the group of every item: its most frequent genre, if that is among the n_most most frequent of all.

    The others are in one group, OTHER_GENRES.
    """
    counts = Counter(genre for names in genres for genre in names)
    frequent = sorted(counts, key=lambda genre: (-counts[genre], genre))[:n_most]
    return [next((genre for genre in frequent if genre in names), OTHER_GENRES) for names in genres]
