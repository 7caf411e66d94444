"""Choose the encoding of the attributes of items, by which the rows of new items are estimated."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cofactor.v1 import manifest_pb2
from cofactor_trainer.data.dataset import Catalogue
from cofactor_trainer.data.item_attributes import AttributeColumn

# The keys of the two attributes that every catalogue has. They are the names of fields of the message Item.
GENRES, RELEASE_YEAR = "genres", "release_year"
# Rarer texts are not learnt from: a few items say little about the next one.
MIN_ITEMS_PER_CATEGORY = 5
# Most texts of an attribute, the most frequent ones.
MAX_CATEGORIES = 200


def item_frame(catalogue: Catalogue) -> pd.DataFrame:
    """Return the attributes of the items, one row per item: numbers with NaN, and texts or tuples of texts with None.

    A time becomes its seconds since 1970, a yes or no the text "true" or "false".
    """
    years = catalogue.release_years.astype(np.float64)
    genres = pd.Series([tuple(genres) or None for genres in catalogue.genres], dtype=object)
    columns = {column.name: _values(column) for column in catalogue.attributes.columns}
    return pd.DataFrame(columns | {GENRES: genres, RELEASE_YEAR: np.where(years > 0, years, np.nan)})


def _values(column: AttributeColumn) -> pd.Series:
    is_known = column.is_known()
    if column.type in ("number", "time"):
        return pd.Series(np.where(is_known, column.values / (1e6 if column.type == "time" else 1.0), np.nan))
    values = [column.value(row) if known else None for row, known in enumerate(is_known)]
    if column.type == "boolean":
        values = [None if value is None else "true" if value else "false" for value in values]
    return pd.Series(values, dtype=object)


def describe_item_features(frame: pd.DataFrame) -> tuple[manifest_pb2.ProfileFeature, ...]:
    """Choose the encoding of every attribute of a frame; those that say nothing are left out."""
    features = (_describe(str(name), frame[name]) for name in frame)
    return tuple(feature for feature in features if feature is not None)


def _describe(name: str, values: pd.Series) -> manifest_pb2.ProfileFeature | None:
    feature = manifest_pb2.ProfileFeature(key=name)
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        numbers = numbers[np.isfinite(numbers)]
        if len(numbers) < MIN_ITEMS_PER_CATEGORY or not numbers.std() > 0:
            return None
        feature.numeric.mean, feature.numeric.scale = float(numbers.mean()), float(numbers.std())
        return feature
    counts = values.explode().dropna().astype(str).value_counts()
    # A text that all items have tells none of them apart.
    frequent = counts[(counts >= MIN_ITEMS_PER_CATEGORY) & (counts < len(values))]
    feature.categorical.categories.extend(sorted(frequent.index[:MAX_CATEGORIES]))
    return feature if feature.categorical.categories else None
