"""Ratings on the device, handed out in random batches."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cofactor_trainer.dataset import RatingsDataset

# Ratings gathered at once in shuffled order: large enough to cost nothing, small enough not to double the memory.
_GATHERED_RATINGS = 1 << 20


class DeviceRatings:
    """The columns of a dataset as tensors: 12 bytes a rating."""

    def __init__(self, ratings: RatingsDataset, device: str) -> None:
        self._users = torch.from_numpy(ratings.user_rows).to(device, torch.int32)
        self._items = torch.from_numpy(ratings.item_rows).to(device, torch.int32)
        self._values = torch.from_numpy(ratings.ratings).to(device)

    def __len__(self) -> int:
        return len(self._values)

    def shuffled(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Every rating once in random order: user rows, item rows and ratings, each (batch_size,).

        The last batch may be smaller, but not of one rating: batch normalisation needs two.
        """
        order = torch.randperm(len(self), device=self._values.device)
        gathered = max(1, _GATHERED_RATINGS // batch_size) * batch_size
        for part in torch.split(order, gathered):
            columns = (self._users[part], self._items[part], self._values[part])
            for users, items, values in zip(*(torch.split(column, batch_size) for column in columns), strict=True):
                if len(values) > 1:
                    yield users, items, values
