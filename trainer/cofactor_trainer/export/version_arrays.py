"""Build the arrays of a version."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cofactor_trainer.data.dataset import Float32Array, Int64Array, RatingsDataset, RowArray, row_counts
from cofactor_trainer.data.duplicates import pair_numbers
from cofactor_trainer.export.attribute_arrays import attribute_arrays
from cofactor_trainer.export.table_file import encode_strings
from cofactor_trainer.graphs.scorer import precompute_item_hidden
from cofactor_trainer.graphs.user_prior import UserPriors
from cofactor_trainer.scoring.ranking_part import similarity_columns
from cofactor_trainer.scoring.trained_model import TrainedModel

Arrays = dict[str, npt.NDArray[Any]]


def model_arrays(model: TrainedModel, priors: UserPriors) -> Arrays:
    """Build the arrays that training learnt."""
    compared = model.item_factors[:, similarity_columns(model)]
    norms = np.sqrt(np.einsum("ij,ij->i", compared, compared))
    arrays: Arrays = {
        "user_factors": model.user_factors,
        "user_bias": model.user_bias,
        "item_factors": model.item_factors,
        "item_bias": model.item_bias,
        "item_inverse_norms": np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0),
        "user_prior_mean": priors.main.mean,
        "user_prior_precision": priors.main.precision,
    }
    if priors.ranking is not None:
        arrays["ranking_prior_mean"] = priors.ranking.mean
        arrays["ranking_prior_covariance"] = priors.ranking.covariance
    if model.layers:
        arrays["item_hidden"] = precompute_item_hidden(model).numpy()
    return {name: np.asarray(array, dtype=np.float32) for name, array in arrays.items()}


def log_popularity(dataset: RatingsDataset) -> npt.NDArray[np.float32]:
    """Compute log(rating count + 1) of every item and of the unknown item, (n_items + 1,)."""
    counts = row_counts(dataset.item_rows, dataset.n_items + 1)
    return np.log1p(counts).astype(np.float32)


def catalogue_arrays(dataset: RatingsDataset) -> Arrays:
    """Build the arrays of ids, titles, genres, release years, rating counts and further attributes."""
    catalogue = dataset.catalogue
    genre_names = sorted({genre for genres in catalogue.genres for genre in genres})
    number = {genre: index for index, genre in enumerate(genre_names)}
    genres = [sorted({number[genre] for genre in names}) for names in catalogue.genres]
    return {
        **encode_strings("user_ids", dataset.user_ids),
        **encode_strings("item_ids", catalogue.item_ids),
        **encode_strings("item_titles", catalogue.titles),
        **encode_strings("genre_names", genre_names),
        "item_genres.offsets": _offsets(np.fromiter(map(len, genres), np.int64, len(genres))),
        "item_genres.indices": np.array([index for row in genres for index in row], dtype=np.int32),
        "item_release_years": np.asarray(catalogue.release_years, dtype=np.int32),
        "item_rating_counts": dataset.item_rating_counts(),
        **attribute_arrays(catalogue.attributes),
    }


def rated_arrays(dataset: RatingsDataset) -> Arrays:
    """Build the arrays of the known items that every known user rated.

    If a user rated an item several times, the last rating counts. A data set of ratings and events has two arrays more:
    the weights of the items, and which of them have a rating.
    """
    users, items, ratings = _last_ratings(dataset)
    arrays: Arrays = {
        "rated.offsets": _offsets(row_counts(users, dataset.n_users)),
        "rated.item_rows": np.asarray(items, dtype=np.int32),
        "rated.ratings": np.asarray(ratings, dtype=np.float32),
    }
    if dataset.rated is not None:
        places, ratings = _places_of_ratings(pair_numbers(users, items, dataset.n_items), dataset.rated)
        arrays["rated.weights"] = arrays["rated.ratings"]
        arrays["rated.ratings"] = np.zeros(len(items), np.float32)
        arrays["rated.ratings"][places] = ratings
        arrays["rated.has_rating"] = np.zeros(len(items), np.uint8)
        arrays["rated.has_rating"][places] = 1
    return arrays


def _last_ratings(dataset: RatingsDataset) -> tuple[RowArray, RowArray, Float32Array]:
    """Return the last rating of every known user and item, sorted by both: user rows, item rows, ratings."""
    users, items = dataset.user_rows, dataset.item_rows
    is_known = (users < dataset.n_users) & (items < dataset.n_items)
    is_later = (users[1:] > users[:-1]) | ((users[1:] == users[:-1]) & (items[1:] > items[:-1]))
    if is_known.all() and is_later.all():  # as weights of events are; sorting takes 40 bytes a rating
        return users, items, dataset.ratings
    known = np.flatnonzero(is_known)
    order = known[np.lexsort((known, items[known], users[known]))]
    users, items = users[order], items[order]
    last = np.ones(len(order), dtype=bool)
    last[:-1] = (users[1:] != users[:-1]) | (items[1:] != items[:-1])
    return users[last], items[last], dataset.ratings[order[last]]


def _places_of_ratings(pairs: Int64Array, rated: RatingsDataset) -> tuple[Int64Array, Float32Array]:
    """Return where the pairs of the ratings are among sorted pairs, and the ratings; each rated pair is among them."""
    known = (rated.user_rows < rated.n_users) & (rated.item_rows < rated.n_items)
    numbers = pair_numbers(rated.user_rows[known], rated.item_rows[known], rated.n_items)
    return np.searchsorted(pairs, numbers), rated.ratings[known]


def _offsets(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
