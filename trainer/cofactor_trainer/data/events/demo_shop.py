"""Generate the events of a small shop that does not exist, with a structure that is known.

Every customer likes two categories and one brand, and looks mostly at those. Half of the customers like another first
category in the second half of the year. What they do not like they return more often. No real person is in it.

    python -m cofactor_trainer.data.events.demo_shop FOLDER    writes events.csv and items.csv
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from cofactor_trainer.data.dataset import BoolArray, Int64Array, RatingsDataset
from cofactor_trainer.data.dataset_builder import RatingsChunk
from cofactor_trainer.data.events.feedback import EventSettings
from cofactor_trainer.data.events.files import FoundTypes, build_events
from cofactor_trainer.data.item_attributes import AttributeColumn, ItemAttributes
from cofactor_trainer.data.item_descriptions import ItemDescription

CATEGORIES = ("Books", "Cycling", "Garden", "Kitchen", "Music", "Toys")
BRANDS = ("Alder", "Birch", "Cedar", "Dogwood", "Elm")
_NOUNS = ("Novel", "Helmet", "Shovel", "Pan", "Drum", "Puzzle")
TAGS = ("gift", "new", "sale")
TYPES = ("view", "cart", "purchase", "return")
N_USERS, N_ITEMS, N_VIEWS = 600, 300, 18_000
_START = datetime(2025, 1, 1, tzinfo=UTC)
_DAYS = 365
# Chances: to look at something liked, to put it into the cart after a look, to buy it then, and to send it back.
_LIKED, _CART, _PURCHASE = 0.75, 0.35, 0.6
_RETURN_LIKED, _RETURN_OTHER = 0.03, 0.35
# How often a customer looks at an item of the liked brand, relative to one of another brand of the same category.
_BRAND_WEIGHT = 3.0


@dataclass(frozen=True)
class DemoShop:
    """Events of the shop, and what decided them.

    Attributes:
        users: (n_events,), rows of the customers.
        items: (n_events,), rows of the items.
        types: (n_events,), positions in TYPES.
        counts: (n_events,), quantities.
        seconds: (n_events,), whole seconds since 1970, ascending.
        categories: (N_ITEMS,), category of every item.
        brands: (N_ITEMS,), brand of every item.
        prices: (N_ITEMS,), in cents.
        favourites: (N_USERS, 3), the two categories that a customer likes at first, and the one that takes the place of
            the first in the second half of the year; the same as the first for those who do not change.
    """

    users: Int64Array
    items: Int64Array
    types: Int64Array
    counts: Int64Array
    seconds: Int64Array
    categories: Int64Array
    brands: Int64Array
    prices: Int64Array
    favourites: Int64Array

    def liked(self, user: int, *, at_the_end: bool = True) -> set[int]:
        """Return the categories that a customer likes at the end of the year, or at its beginning."""
        first, second, later = self.favourites[user].tolist()
        return {later if at_the_end else first, second}

    def title(self, item: int) -> str:
        """Return the title of an item."""
        return f"{BRANDS[self.brands[item]]} {_NOUNS[self.categories[item]]} {item:03}"


def generate_shop(seed: int = 1) -> DemoShop:
    """Generate the shop; the same seed gives the same events."""
    random = np.random.default_rng(seed)
    categories, brands = np.arange(N_ITEMS) % len(CATEGORIES), random.integers(len(BRANDS), size=N_ITEMS)
    prices = np.round(np.exp(random.normal(7.5, 0.6, N_ITEMS))).astype(np.int64)
    favourites = np.stack([random.permutation(len(CATEGORIES))[:3] for _ in range(N_USERS)])
    stays = random.random(N_USERS) < 0.5
    favourites[stays, 2] = favourites[stays, 0]
    liked_brands = random.integers(len(BRANDS), size=N_USERS)
    popularity = (np.arange(N_ITEMS) + 5.0) ** -0.7
    random.shuffle(popularity)
    users = random.choice(N_USERS, N_VIEWS, p=_shares((np.arange(N_USERS) + 20.0) ** -0.6))
    seconds = np.sort(random.integers(0, _DAYS * 86_400, N_VIEWS)) + int(_START.timestamp())
    is_late = seconds >= (_START + timedelta(days=_DAYS / 2)).timestamp()
    likes = random.random(N_VIEWS) < _LIKED
    is_second = random.random(N_VIEWS) < 0.5
    first = np.where(is_late, favourites[users, 2], favourites[users, 0])
    chosen = np.where(is_second, favourites[users, 1], first)
    chosen = np.where(likes, chosen, random.integers(len(CATEGORIES), size=N_VIEWS))
    items = np.empty(N_VIEWS, np.int64)
    for view, (user, category) in enumerate(zip(users, chosen, strict=True)):
        shelf = np.flatnonzero(categories == category)
        weights = popularity[shelf] * np.where(brands[shelf] == liked_brands[user], _BRAND_WEIGHT, 1.0)
        items[view] = random.choice(shelf, p=_shares(weights))
    is_liked = (categories[items] == first) | (categories[items] == favourites[users, 1])
    rows = _follow_ups(random, is_liked)
    delays = np.array([0, 600, 1800, 10 * 86_400])
    times = seconds[rows[0]] + delays[rows[1]]
    order = np.argsort(times, kind="stable")
    views, types = rows[0][order], rows[1][order]
    counts = np.where(types >= 2, 1 + (random.random(len(types)) < 0.15), 1)
    return DemoShop(users[views], items[views], types, counts, times[order], categories, brands, prices, favourites)


def _follow_ups(random: np.random.Generator, is_liked: BoolArray) -> tuple[Int64Array, Int64Array]:
    """Return the number of the view (n_events,) and the type (n_events,) of all events that follow from views."""
    n_views = len(is_liked)
    carted = random.random(n_views) < _CART
    bought = carted & (random.random(n_views) < _PURCHASE)
    returned = bought & (random.random(n_views) < np.where(is_liked, _RETURN_LIKED, _RETURN_OTHER))
    happened = [np.ones(n_views, bool), carted, bought, returned]
    views = np.concatenate([np.flatnonzero(mask) for mask in happened])
    types = np.concatenate([np.full(int(mask.sum()), kind) for kind, mask in enumerate(happened)])
    return views, types


def _shares(weights: np.ndarray) -> np.ndarray:
    shares: np.ndarray = weights / weights.sum()
    return shares


def user_id(user: int) -> str:
    """Return the id of a customer."""
    return f"customer-{user:03}"


def item_id(item: int) -> str:
    """Return the id of an item."""
    return f"item-{item:03}"


def load_demo_shop(settings: EventSettings | None = None) -> RatingsDataset:
    """Load the events of the shop; an item's genres are its category and its brand, which are attributes, too."""
    shop, found = generate_shop(), FoundTypes(settings or EventSettings())
    types = pa.DictionaryArray.from_arrays(pa.array(shop.types, pa.int32()), pa.array(TYPES))
    weights, is_used = found.weigh(types, shop.counts.astype(np.float64))
    chunk = RatingsChunk(
        user_ids=pa.array([user_id(user) for user in shop.users[is_used]]).dictionary_encode(),
        item_ids=pa.array([item_id(item) for item in shop.items[is_used]]).dictionary_encode(),
        ratings=weights[is_used],
        timestamps=shop.seconds[is_used].astype(np.float64),
    )
    items = {
        item_id(item): ItemDescription(
            shop.title(item), (CATEGORIES[shop.categories[item]], BRANDS[shop.brands[item]]), 0
        )
        for item in range(N_ITEMS)
    }
    dataset = build_events("demo-shop", [chunk], found, items=items)
    # Every item of the shop has a position in its id.
    rows = np.array([int(name.rpartition("-")[2]) for name in dataset.catalogue.item_ids])
    return replace(dataset, catalogue=replace(dataset.catalogue, attributes=shop_attributes(shop).select(rows)))


def shop_attributes(shop: DemoShop) -> ItemAttributes:
    """Return what the shop knows about its items: the events do not depend on it, except for category and brand."""
    random = np.random.default_rng(2)
    in_stock = random.random(N_ITEMS) < 0.9
    tagged = random.random((N_ITEMS, len(TAGS))) < 0.2
    days = random.integers(_DAYS, size=N_ITEMS).tolist()
    tags = [tuple(tag for tag, has_tag in zip(TAGS, row, strict=True) if has_tag) for row in tagged]
    of_values = AttributeColumn.of_values
    return ItemAttributes(
        (
            of_values("category", "text", [CATEGORIES[category] for category in shop.categories]),
            of_values("brand", "text", [BRANDS[brand] for brand in shop.brands]),
            of_values("price", "number", [price / 100 for price in shop.prices.tolist()]),
            of_values("in_stock", "boolean", in_stock.tolist()),
            of_values("tags", "texts", tags),
            of_values("added", "time", [_START - timedelta(days=day) for day in days]),
        )
    )


def write_files(folder: Path) -> None:
    """Write the shop as a shop would export it: events.csv and items.csv."""
    shop = generate_shop()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "events.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("customer_id", "item_id", "event", "quantity", "time"))
        columns = (shop.users, shop.items, shop.types, shop.counts, shop.seconds)
        for user, item, kind, count, second in zip(*(column.tolist() for column in columns), strict=True):
            time = datetime.fromtimestamp(second, UTC).isoformat().replace("+00:00", "Z")
            writer.writerow((user_id(user), item_id(item), TYPES[kind], count, time))
    with (folder / "items.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        attributes = shop_attributes(shop).columns
        writer.writerow(("item_id", "title", "genres", *(column.name for column in attributes)))
        for item in range(N_ITEMS):
            genres = f"{CATEGORIES[shop.categories[item]]}|{BRANDS[shop.brands[item]]}"
            writer.writerow(
                (item_id(item), shop.title(item), genres, *(_cell(column.value(item)) for column in attributes))
            )


def _cell(value: object) -> str:
    """Return the value of an attribute as text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "|".join(value)
    return value.date().isoformat() if isinstance(value, datetime) else "" if value is None else str(value)


def main(arguments: Sequence[str]) -> int:
    """Write the files of the shop into the folder that the only argument names."""
    if len(arguments) != 1:
        print("error: name the folder to write events.csv and items.csv into", file=sys.stderr)
        return 2
    write_files(Path(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
