"""Fold users in from their events in torch, as the graph embed_user of a version of the model would."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from cofactor_trainer.data.dataset import Float32Array, Int64Array, RatingsDataset
from cofactor_trainer.data.events.recency import with_recency
from cofactor_trainer.graphs.ranking_fold_in import EmbedUserOfRatingsAndEvents, build_fold_in
from cofactor_trainer.graphs.ranking_prior import estimate_priors
from cofactor_trainer.graphs.scorer import Scorer
from cofactor_trainer.scoring.trained_model import TrainedModel
from cofactor_trainer.training.threads import one_thread

_USERS_AT_ONCE = 64


class FoldedUsers:
    """Computes the vectors of users as a server would if it knew them by their events only.

    Sign-up answers take no part: few users of a service have some.

    Args:
        model: model that was trained on ``train``.
        train: weighed events, which the prior over users is estimated from.
    """

    def __init__(self, model: TrainedModel, train: RatingsDataset) -> None:
        train = replace(train, profiles=None, rated=train.rated and replace(train.rated, profiles=None))
        rated = train.rated or train
        priors = estimate_priors(model, train)
        scale = rated.rating_min, rated.rating_max
        self._model = model
        self._fold_in = build_fold_in(model, Scorer(model), priors, scale, train.events)

    def fold_in(self, histories: RatingsDataset, users: Int64Array) -> TrainedModel:
        """Return the model with other users: those of ``histories``, of whom ``users`` (m,), ascending, have a vector.

        The histories have the items of the model. Its unknown item is none.
        """
        n_users, model = histories.n_users, self._model
        factors = np.zeros((n_users + 1, model.user_factors.shape[1]), np.float32)
        bias = np.zeros(n_users + 1, np.float32)
        sources = [with_recency(histories)]
        if isinstance(self._fold_in, EmbedUserOfRatingsAndEvents):
            sources.insert(0, histories.rated or histories)
        with torch.inference_mode(), one_thread():
            for block in np.split(users, range(_USERS_AT_ONCE, len(users), _USERS_AT_ONCE)):
                inputs = [part for source in sources for part in _padded_histories(source, block)]
                folded = self._fold_in(*inputs)
                factors[block], bias[block] = folded[0].numpy(), folded[1].numpy()
        return replace(model, user_factors=factors, user_bias=bias)


def _padded_histories(dataset: RatingsDataset, users: Int64Array) -> tuple[Tensor, Tensor]:
    """Return the items of users (m,) and their ratings or weights, (m, N), padded with the unknown item."""
    chosen = np.flatnonzero(np.isin(dataset.user_rows, users))
    chosen = chosen[np.argsort(dataset.user_rows[chosen], kind="stable")]
    lines = np.searchsorted(users, dataset.user_rows[chosen])
    places = np.arange(len(chosen)) - np.searchsorted(lines, lines)
    item_rows = np.full((len(users), int(places.max(initial=0)) + 1), dataset.n_items, np.int64)
    values: Float32Array = np.zeros(item_rows.shape, np.float32)
    item_rows[lines, places], values[lines, places] = dataset.item_rows[chosen], dataset.ratings[chosen]
    return torch.from_numpy(item_rows), torch.from_numpy(values)
