"""Ratings on the device, and the order in which they train."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cofactor_trainer.architectures.recipes import Recipe
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.errors import RecipeError

Batch = tuple[Tensor, Tensor, Tensor]

# Ratings gathered at once in shuffled order: large enough to cost nothing, small enough to take next to no memory.
_GATHERED_RATINGS = 1 << 18


def columns_on(device: str, ratings: RatingsDataset) -> Batch:
    """The columns of a dataset as tensors: its own memory on a CPU, 12 bytes a rating elsewhere."""
    users, items, values = (
        torch.from_numpy(column).to(device) for column in (ratings.user_rows, ratings.item_rows, ratings.ratings)
    )
    return users, items, values


def check_batches(recipe: Recipe, n_ratings: int) -> None:
    """Refuse what `rating_batches` makes no batch of, as it leaves out those of one rating.

    Raises:
        RecipeError: there is one rating only, or one a step.
    """
    if recipe.objective == "ranking":
        return  # its batches are of users
    if n_ratings < 2:
        raise RecipeError(f"{n_ratings} rating to train on: at least 2 are needed; let a smaller fraction validate")
    if recipe.batch_size_for(n_ratings) < 2:
        raise RecipeError(f"batch_size is 1: recipe {recipe.name} needs at least 2 ratings a step")


def rating_batches(user_rows: Tensor, item_rows: Tensor, ratings: Tensor, size: int) -> Iterator[Batch]:
    """Every rating once in random order, ``size`` ratings at a time; the columns are (n_ratings,) each.

    The last batch may be smaller, but not of one rating: batch normalisation needs two.
    """
    # The same permutation in either type on a CPU, in half the memory.
    kind = torch.int32 if len(ratings) <= torch.iinfo(torch.int32).max else torch.int64
    order = torch.randperm(len(ratings), dtype=kind, device=ratings.device)
    gathered = max(1, _GATHERED_RATINGS // size) * size
    for part in torch.split(order, gathered):
        columns = (
            user_rows.index_select(0, part).long(),
            item_rows.index_select(0, part).long(),
            ratings.index_select(0, part),
        )
        for batch in zip(*(torch.split(column, size) for column in columns), strict=True):
            if len(batch[0]) > 1:
                yield batch


def user_batches(user_rows: Tensor, item_rows: Tensor, ratings: Tensor, size: int) -> Iterator[Batch]:
    """Every user once in random order, ``size`` users at a time with all that they rated."""
    order = torch.argsort(user_rows, stable=True)
    users, counts = torch.unique_consecutive(user_rows[order], return_counts=True)
    ends = counts.cumsum(0)
    for chosen in torch.split(torch.randperm(len(users), device=users.device), size):
        lengths = counts[chosen]
        # Positions ends[i] - counts[i], ..., ends[i] - 1, one user after the other.
        within = torch.arange(int(lengths.sum()), device=users.device)
        within -= torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)
        part = order[torch.repeat_interleave(ends[chosen] - lengths, lengths) + within]
        yield user_rows[part].long(), item_rows[part].long(), ratings[part]
