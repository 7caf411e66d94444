"""What a model folds into once it is trained: plain arrays, their rows of the unknown user and item filled in."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from cofactor_trainer.data.dataset import Float32Array, Int64Array, RatingsDataset
from cofactor_trainer.scoring.trained_model import Layer

RARE_ITEM_RATINGS = 2


def to_array(tensor: Tensor) -> Float32Array:
    """A copy as a float32 array."""
    return cast(Float32Array, tensor.detach().to("cpu", torch.float32).numpy().copy())


def fill_unknown(rows: Float32Array, like: Int64Array | None = None) -> Float32Array:
    """The same rows with the last one replaced by the mean of some of the others (all of them where None)."""
    filled = rows.copy()
    filled[-1] = (rows[:-1] if like is None else rows[like]).mean(axis=0, dtype=np.float64)
    return filled


def with_unknown(rows: Tensor, like: Int64Array | None = None) -> Float32Array:
    """Rows with one more, the mean of some of them (all of them where None)."""
    return fill_unknown(to_array(torch.cat([rows, rows[:1]])), like)


def rare_items(train: RatingsDataset) -> Int64Array:
    """Items with at most 2 ratings, or else the least rated ones: an item never seen is most like them."""
    counts = train.item_rating_counts()
    return np.flatnonzero(counts <= max(RARE_ITEM_RATINGS, counts.min())).astype(np.int64)


def fold_perceptron(network: nn.Sequential) -> tuple[Layer, ...]:
    """Linear layers that compute what the network does when it does not train.

    Batch normalisation is x * scale + shift, so the next layer's weight W becomes W * scale and its bias b + W shift.
    """
    layers = []
    scale: Tensor | None = None
    shift: Tensor | None = None
    for module in network:
        if isinstance(module, nn.BatchNorm1d):
            assert module.running_mean is not None
            assert module.running_var is not None
            scale = module.weight.double() / torch.sqrt(module.running_var.double() + module.eps)
            shift = module.bias.double() - module.running_mean.double() * scale
        elif isinstance(module, nn.Linear):
            weight = module.weight.double()
            bias = torch.zeros_like(weight[:, 0]) if module.bias is None else module.bias.double()
            if scale is not None and shift is not None:
                weight, bias = weight * scale, bias + weight @ shift
                scale = shift = None
            layers.append(Layer(to_array(weight), to_array(bias)))
    return tuple(layers)
