"""Train the recipe of events."""

from __future__ import annotations

from cofactor_trainer.architectures.recipes import EVENT_RECIPE, RECIPES
from cofactor_trainer.data.splits import Split
from cofactor_trainer.scoring.trained_model import TrainedModel
from cofactor_trainer.training.train import train


def ours(split: Split, seed: int = 1) -> TrainedModel:
    """Train the recipe of events."""
    return train(split.train, None, RECIPES[EVENT_RECIPE], seed=seed).model


OURS = f"**Cofactor, `{EVENT_RECIPE}`**"
