"""Generate ratings of a catalogue that does not exist, by readers with a known taste.

Every reader likes one or two genres and dislikes one, and rates by that, by the quality of the item and by chance. No
title and no reader is real, so the catalogue may be shown anywhere.

    python -m tests.support.web.invented_catalogue FOLDER    writes ratings.csv and items.csv
"""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

# Genre -> adjectives and nouns of its titles, and words that follow.
_WORDS = {
    "Science fiction": (
        ("Silent", "Outer", "Glass", "Second", "Slow", "Hollow", "Distant"),
        ("Orbit", "Signal", "Colony", "Engine", "Meridian", "Horizon", "Cradle"),
        ("", "of Ceres", "Nine", "at Midnight"),
    ),
    "Romance": (
        ("Late", "Tender", "Borrowed", "Summer", "Quiet", "Paper", "Second"),
        ("Letters", "Promises", "Evenings", "Hearts", "Weddings", "Gardens", "Waltz"),
        ("", "in Trieste", "for Clara", "by the Lake"),
    ),
    "Crime": (
        ("Cold", "Broken", "Seventh", "Blind", "Last", "Crooked", "Northern"),
        ("Alibi", "Witness", "Harbour", "Verdict", "Key", "Ledger", "Footprint"),
        ("", "of Mr Vale", "in Room 12", "after Dark"),
    ),
    "Comedy": (
        ("Terrible", "Wrong", "Loud", "Accidental", "Grand", "Clumsy", "Polite"),
        ("Neighbours", "Butler", "Picnic", "Uncles", "Orchestra", "Holiday", "Llama"),
        ("", "Again", "and Sons", "Gets Lost"),
    ),
    "Fantasy": (
        ("Ember", "Thorn", "Winter", "Moonlit", "Raven", "Salt", "Elder"),
        ("Crown", "Gate", "Witch", "Oath", "Forest", "Harp", "Wyrm"),
        ("", "of Aldermoor", "Rising", "and the Fox"),
    ),
    "Documentary": (
        ("Inside", "Understanding", "Beyond", "Mapping", "Listening to", "Growing", "Counting"),
        ("Glaciers", "Bees", "Bridges", "Deserts", "Rivers", "Bread", "Whales"),
        ("", "Today", ": A Field Guide", "from Above"),
    ),
}
GENRES = tuple(_WORDS)
N_USERS, N_ITEMS, RATINGS_PER_USER = 300, 300, 80
HOSTILE_TITLE = "<img src=x onerror=\"document.title='taken over'\"> & <script>alert(1)</script>"
_PAIRED = 0.25  # share of the items with a second genre


class InventedCatalogue:
    """The catalogue and its ratings.

    Attributes:
        titles: of every item; the last one is markup, if `is_hostile`.
        item_genres: one or two genres of every item.
        years: of every item.
        ratings: (user row, item row, rating from 1 to 5).
    """

    def __init__(self, seed: int = 3, *, is_hostile: bool = True) -> None:
        random = np.random.default_rng(seed)
        self.titles, self.item_genres = _items(random)
        if is_hostile:
            self.titles[-1] = HOSTILE_TITLE
        self.years = random.integers(1962, 2026, N_ITEMS).tolist()
        self.ratings = _ratings(random, self.item_genres)

    def items_of(self, genre: str) -> list[int]:
        """Return the rows of the items of a genre that have no other one."""
        return [row for row, genres in enumerate(self.item_genres) if genres == (genre,)]

    def write(self, folder: Path) -> None:
        """Write ratings.csv and items.csv."""
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "ratings.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("user_id", "item_id", "rating"))
            writer.writerows((user_id(user), item_id(item), rating) for user, item, rating in self.ratings)
        with (folder / "items.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("item_id", "title", "genres", "year"))
            for row, title in enumerate(self.titles):
                writer.writerow((item_id(row), title, "|".join(self.item_genres[row]), self.years[row]))


def user_id(row: int) -> str:
    """Return the id of a reader."""
    return f"reader-{row:03}"


def item_id(row: int) -> str:
    """Return the id of an item."""
    return f"item-{row:03}"


def _items(random: np.random.Generator) -> tuple[list[str], list[tuple[str, ...]]]:
    titles, genres = [], []
    pools = {genre: [" ".join(parts).replace(" :", ":").strip() for parts in _titles(genre)] for genre in GENRES}
    for pool in pools.values():
        random.shuffle(pool)
    for row in range(N_ITEMS):
        genre = GENRES[row % len(GENRES)]
        titles.append(pools[genre].pop())
        second = GENRES[int(random.integers(len(GENRES)))] if random.random() < _PAIRED else genre
        genres.append((genre,) if second == genre else (genre, second))
    return titles, genres


def _titles(genre: str) -> itertools.product[tuple[str, str, str]]:
    first, nouns, ends = _WORDS[genre]
    return itertools.product([word if genre == "Documentary" else f"The {word}" for word in first], nouns, ends)


def _ratings(random: np.random.Generator, item_genres: list[tuple[str, ...]]) -> list[tuple[int, int, int]]:
    quality = random.normal(0, 0.45, N_ITEMS)
    popularity = (np.arange(N_ITEMS) + 8.0) ** -0.8
    random.shuffle(popularity)
    has_genre = np.array([[genre in genres for genre in GENRES] for genres in item_genres], float)
    has_genre /= has_genre.sum(axis=1, keepdims=True)
    ratings = []
    for user in range(N_USERS):
        order = random.permutation(len(GENRES))
        taste = np.zeros(len(GENRES))
        taste[order[0]], taste[order[1]], taste[order[-1]] = 1.5, random.choice([0.0, 1.0]), -1.4
        mean = has_genre @ taste + quality + 3.1 + random.normal(0, 0.25)
        chances = popularity * np.exp(0.5 * has_genre @ taste)
        for item in random.choice(N_ITEMS, RATINGS_PER_USER, replace=False, p=chances / chances.sum()):
            rating = round(float(np.clip(mean[item] + random.normal(0, 0.5), 1, 5)))
            ratings.append((user, int(item), rating))
    return ratings


def main(arguments: Sequence[str]) -> int:
    """Write the files to the folder that is named."""
    if len(arguments) != 1:
        print("usage: python -m tests.support.web.invented_catalogue FOLDER", file=sys.stderr)
        return 2
    InventedCatalogue().write(Path(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
