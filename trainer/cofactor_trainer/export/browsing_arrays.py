"""Build the arrays by which people find their way in a catalogue: a map, and items to ask new users about."""

from __future__ import annotations

import numpy as np

from cofactor.v1 import manifest_pb2
from cofactor_trainer.data.dataset import Int64Array, RatingsDataset
from cofactor_trainer.export.item_map import draw_item_map
from cofactor_trainer.export.starter_items import starter_items
from cofactor_trainer.export.version_arrays import Arrays
from cofactor_trainer.graphs.user_prior import UserPriors
from cofactor_trainer.scoring.trained_model import TrainedModel


def browsing_arrays(
    manifest: manifest_pb2.Manifest,
    model: TrainedModel,
    dataset: RatingsDataset,
    priors: UserPriors,
    rating_counts: Int64Array,
) -> Arrays:
    """Build the arrays of the map and of the starter items, and add the map's labels to the manifest.

    rating_counts (n_items,). A network has no starter items: what a rating tells about its users has no closed form.
    """
    genres = dataset.catalogue.genres
    item_map = draw_item_map(model, rating_counts, genres)
    for x, y, text in item_map.labels:
        manifest.item_map_labels.add(x=x, y=y, text=text)
    arrays: Arrays = {
        "item_map.rows": item_map.rows.astype(np.int32),
        "item_map": item_map.places.astype(np.float32),
    }
    if not model.layers:
        rows = starter_items(model, priors.main, rating_counts, dataset.n_users, genres)
        arrays["starter_items.rows"] = rows.astype(np.int32)
    return arrays
