"""The state of a training run in a file, so that an interrupted run goes on to the same result."""

from __future__ import annotations

import hashlib
import os
import pickle
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cofactor_trainer.architectures.recipes import Recipe
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.features import side_features
from cofactor_trainer.errors import InputError

_FORMAT = 3


@dataclass(frozen=True)
class Checkpoint:
    """A training run after some of its epochs.

    Attributes:
        run: `run_fingerprint` of what is trained on what.
        model: values by name.
        optimizer: `FlatAdamW.state_dict`.
        history: the fields of each `EpochResult` so far.
        best: values of the model after its best epoch; None where only the last one counts.
    """

    run: str
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    history: list[dict[str, Any]]
    best: dict[str, Tensor] | None


def run_fingerprint(recipe: Recipe, seed: int, ratings: RatingsDataset) -> str:
    """A text that is the same for the same recipe, seed, ratings, scale and features of users and items only."""
    # A blend's members learn from features, whatever its own recipe says.
    learns_from_features = recipe.side_information or recipe.model == "blend"
    features = side_features(ratings, enabled=learns_from_features)
    scale = ratings.rating_min, ratings.rating_max
    shapes = ratings.n_users, ratings.n_items, *(side.shape for side in features)
    digest = hashlib.sha256(repr((recipe, seed, scale, shapes)).encode())
    for column in (ratings.user_rows, ratings.item_rows, ratings.ratings, *features):
        digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write the file, complete or not at all, so that a run killed at any moment leaves a good one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            torch.save({"format": _FORMAT, **vars(checkpoint)}, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise InputError(
            f"the checkpoint cannot be written ({error.strerror}): name another file with --checkpoint", path
        ) from None


def read_checkpoint(path: Path, run: str, device: str) -> Checkpoint:
    """The checkpoint in a file.

    Raises:
        InputError: there is none, it is damaged, or it is of another run.
    """
    try:
        # Only tensors and plain values are loaded: a checkpoint cannot run code.
        content = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise InputError("there is no checkpoint to go on from: leave out --resume", path) from None
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError, ValueError, KeyError):
        raise InputError("not a checkpoint, or a damaged one: train anew without --resume", path) from None
    if not isinstance(content, dict) or content.pop("format", None) != _FORMAT:
        raise InputError("not a checkpoint of this version of the trainer: train anew without --resume", path)
    checkpoint = Checkpoint(**content)
    if checkpoint.run != run:
        raise InputError(
            "the checkpoint is of another recipe, seed or set of ratings (scale, items and users included): give the "
            "flags it was written with, or train anew without --resume",
            path,
        )
    return checkpoint
