"""Exchange users and items, so that what embeds a new user embeds a new item."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from cofactor_trainer.data.dataset import Catalogue, RatingsDataset
from cofactor_trainer.scoring.trained_model import TrainedModel


def exchange_model(model: TrainedModel) -> TrainedModel:
    """Return a dot product with the users in the place of the items, and the items in that of the users.

    Raises:
        ValueError: the model has a network, whose layers tell users and items apart.
    """
    if model.layers:
        raise ValueError("a network cannot exchange its users and items")
    return replace(
        model,
        user_factors=model.item_factors,
        user_bias=model.item_bias,
        item_factors=model.user_factors,
        item_bias=model.user_bias,
    )


def exchange_dataset(dataset: RatingsDataset, attributes: pd.DataFrame | None) -> RatingsDataset:
    """Do the same with a data set; attributes, one row per item or None, take the place of the sign-up answers."""
    n_users = dataset.n_users
    catalogue = Catalogue(
        item_ids=list(dataset.user_ids),
        titles=[""] * n_users,
        genres=[()] * n_users,
        release_years=np.zeros(n_users, np.int64),
    )
    return replace(
        dataset,
        user_ids=list(dataset.catalogue.item_ids),
        catalogue=catalogue,
        user_rows=dataset.item_rows,
        item_rows=dataset.user_rows,
        profiles=attributes,
        dismissed=None,
        rated=None if dataset.rated is None else exchange_dataset(dataset.rated, attributes),
    )
