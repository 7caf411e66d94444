"""Move ratings to the device and divide them into batches."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cofactor_trainer.architectures.recipes import Recipe
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.errors import RecipeError

# User rows, item rows and ratings, (n,) each.
Batch = tuple[Tensor, Tensor, Tensor]

# Ratings gathered at once in shuffled order: enough to be fast, few enough to take hardly any memory.
_RATINGS_PER_GATHER = 1 << 18


def rating_tensors(ratings: RatingsDataset, device: str) -> Batch:
    """Return the columns of a dataset as tensors, (n_ratings,) each.

    On a CPU they share the dataset's memory; on another device they take 12 bytes a rating.
    """
    user_rows, item_rows, values = (
        torch.from_numpy(column).to(device) for column in (ratings.user_rows, ratings.item_rows, ratings.ratings)
    )
    return user_rows, item_rows, values


def check_batches(recipe: Recipe, n_ratings: int) -> None:
    """Check that a recipe makes at least one batch of two ratings; `rating_batches` drops batches of one.

    Raises:
        RecipeError: there is only one rating, or only one per batch.
    """
    if recipe.objective == "ranking":
        return  # its batches are of users
    if n_ratings < 2:
        raise RecipeError(f"{n_ratings} rating to train on: at least 2 are needed; lower --validation-fraction")
    if recipe.batch_size_for(n_ratings) < 2:
        raise RecipeError(f"batch_size is 1: recipe {recipe.name} needs at least 2")


def rating_batches(user_rows: Tensor, item_rows: Tensor, ratings: Tensor, size: int) -> Iterator[Batch]:
    """Yield all ratings in random order, ``size`` at a time; the arguments are (n_ratings,) each.

    The last batch may be smaller. It is dropped if it has only one rating, because batch normalisation needs two.
    """
    # Both types give the same permutation on a CPU; int32 takes half of the memory.
    kind = torch.int32 if len(ratings) <= torch.iinfo(torch.int32).max else torch.int64
    order = torch.randperm(len(ratings), dtype=kind, device=ratings.device)
    n_gathered = max(1, _RATINGS_PER_GATHER // size) * size
    for part in torch.split(order, n_gathered):
        columns = (
            user_rows.index_select(0, part).long(),
            item_rows.index_select(0, part).long(),
            ratings.index_select(0, part),
        )
        for batch in zip(*(torch.split(column, size) for column in columns), strict=True):
            if len(batch[0]) > 1:
                yield batch


def user_batches(user_rows: Tensor, item_rows: Tensor, ratings: Tensor, size: int) -> Iterator[Batch]:
    """Yield all users in random order, ``size`` at a time, with all their ratings."""
    # Weights of events are sorted by user already: 20 million positions would take 160 MB.
    is_sorted = bool((user_rows[1:] >= user_rows[:-1]).all())
    order = None if is_sorted else torch.argsort(user_rows, stable=True)
    counts = torch.bincount(user_rows)
    counts = counts[counts > 0]
    ends = counts.cumsum(0)
    for chosen in torch.split(torch.randperm(len(counts), device=counts.device), size):
        lengths = counts[chosen]
        # Positions ends[i] - counts[i], ..., ends[i] - 1 of each chosen user i.
        within = torch.arange(int(lengths.sum()), device=counts.device)
        within -= torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)
        part = torch.repeat_interleave(ends[chosen] - lengths, lengths) + within
        part = part if order is None else order[part]
        yield user_rows[part].long(), item_rows[part].long(), ratings[part]
