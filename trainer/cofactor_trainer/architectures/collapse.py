"""Turn the parameters of trained models into plain arrays."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from cofactor_trainer.data.dataset import Float32Array, Int64Array, RatingsDataset
from cofactor_trainer.scoring.trained_model import Layer

RARE_ITEM_RATINGS = 2


def to_array(tensor: Tensor) -> Float32Array:
    """Copy a tensor to a float32 array."""
    return cast(Float32Array, tensor.detach().to("cpu", torch.float32).numpy().copy())


def set_unknown_row(rows: Float32Array, mean_of: Int64Array | None = None) -> Float32Array:
    """Return a copy whose last row is the mean of the rows ``mean_of``, or of all other rows if that is None."""
    filled = rows.copy()
    filled[-1] = (rows[:-1] if mean_of is None else rows[mean_of]).mean(axis=0, dtype=np.float64)
    return filled


def append_unknown_row(rows: Tensor, mean_of: Int64Array | None = None) -> Float32Array:
    """Append the mean of the rows ``mean_of``, or of all rows if that is None."""
    # One copy: of a million rows, every further one takes hundreds of megabytes.
    filled = np.empty((len(rows) + 1, *rows.shape[1:]), np.float32)
    filled[:-1] = rows.detach().cpu().numpy()
    filled[-1] = (filled[:-1] if mean_of is None else filled[mean_of]).mean(axis=0, dtype=np.float64)
    return filled


def rarely_rated_items(train: RatingsDataset) -> Int64Array:
    """Return the rows of the items that an unknown item is most like.

    These are the items with at most 2 ratings, or the least rated ones if every item has more.
    """
    counts = train.item_rating_counts()
    return np.flatnonzero(counts <= max(RARE_ITEM_RATINGS, counts.min())).astype(np.int64)


def collapse_perceptron(network: nn.Sequential) -> tuple[Layer, ...]:
    """Return linear layers that compute the same as the network does in evaluation mode.

    Batch normalisation is x * scale + shift, so the weight W of the next layer becomes W * scale and its bias b
    becomes b + W shift.
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
