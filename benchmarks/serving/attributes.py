"""Attributes of synthetic items: of every type, a tenth of the values unknown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from cofactor_trainer.data.item_attributes import AttributeColumn, ItemAttributes

N_CATEGORIES, N_BRANDS, N_TAGS = 40, 2_000, 200


def make_attributes(n_items: int) -> ItemAttributes:
    """Make category, brand, price, in_stock, tags and added of items; the same number gives the same values."""
    random = np.random.default_rng(11)

    def known(values: list[Any]) -> list[Any]:
        is_missing = (random.random(n_items) < 0.1).tolist()
        return [None if missing else value for value, missing in zip(values, is_missing, strict=True)]

    categories = random.integers(N_CATEGORIES, size=n_items).tolist()
    tags = random.integers(N_TAGS, size=(n_items, 3)).tolist()
    days = random.integers(2_000, size=n_items).tolist()
    of_values = AttributeColumn.of_values
    return ItemAttributes(
        (
            of_values("category", "text", known([f"category {n}" for n in categories])),
            of_values("brand", "text", known([f"brand {n:04}" for n in random.integers(N_BRANDS, size=n_items)])),
            of_values("price", "number", known(np.round(np.exp(random.normal(3, 1, n_items)), 2).tolist())),
            of_values("in_stock", "boolean", known((random.random(n_items) < 0.9).tolist())),
            of_values("tags", "texts", known([tuple(f"tag {n}" for n in row) for row in tags])),
            of_values("added", "time", known([datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=n) for n in days])),
        )
    )
