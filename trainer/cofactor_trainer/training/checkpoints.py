"""Save the state of a training run, so that an interrupted run resumes and reaches the same result."""

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

_FORMAT = 4


@dataclass(frozen=True)
class Checkpoint:
    """State of a training run after some of its epochs.

    Attributes:
        run: `run_fingerprint` of the run.
        model: parameters and running statistics by name.
        optimizer: `FlatAdamW.state_dict`.
        history: fields of every `EpochResult` so far.
        best: parameters and running statistics of the best epoch; None if only the last epoch counts.
    """

    run: str
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    history: list[dict[str, Any]]
    best: dict[str, Tensor] | None


def run_fingerprint(recipe: Recipe, seed: int, ratings: RatingsDataset) -> str:
    """Hash everything that determines a run: recipe, seed, ratings, scale, and features of users and items."""
    # The hybrids of a blend learn from features, whatever the blend's own recipe says.
    learns_from_features = recipe.side_information or recipe.model == "blend"
    features = side_features(ratings, enabled=learns_from_features)
    scale = ratings.rating_min, ratings.rating_max
    shapes = ratings.n_users, ratings.n_items, *(side.shape for side in features)
    digest = hashlib.sha256(repr((recipe, seed, scale, shapes)).encode())
    for column in (ratings.user_rows, ratings.item_rows, ratings.ratings, *features):
        digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint atomically: a run killed at any moment leaves the old file or the new one.

    Raises:
        InputError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save({"format": _FORMAT, **vars(checkpoint)}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:  # also Ctrl-C leaves no half-written file
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise InputError(
            f"the checkpoint cannot be written ({error.strerror}): name another file with --checkpoint", path
        ) from None


def read_checkpoint(path: Path, run: str, device: str) -> Checkpoint:
    """Read the checkpoint of a run.

    Args:
        path: checkpoint file.
        run: `run_fingerprint` that the checkpoint must have.
        device: device to load the tensors to.

    Raises:
        InputError: the file is missing or damaged, or belongs to another run.
    """
    try:
        # weights_only loads tensors and plain values: a checkpoint cannot run code.
        content = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise InputError("there is no checkpoint to resume from: leave out --resume", path) from None
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError, ValueError, KeyError):
        raise InputError("not a checkpoint, or a damaged one: start over without --resume", path) from None
    if not isinstance(content, dict) or content.pop("format", None) != _FORMAT:
        raise InputError("not a checkpoint of this version of the trainer: start over without --resume", path)
    checkpoint = Checkpoint(**content)
    if checkpoint.run != run:
        raise InputError(
            "the checkpoint belongs to another recipe, seed or set of ratings (scale, items and users included): "
            "repeat the flags it was written with, or start over without --resume",
            path,
        )
    return checkpoint
