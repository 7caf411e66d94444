"""The loss of a folded model on ratings that it has not seen."""

from __future__ import annotations

import numpy as np

from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.evaluation.metrics import mean_squared_error
from cofactor_trainer.scoring.numpy_scorer import predict_all_logits, predict_ratings
from cofactor_trainer.scoring.trained_model import TrainedModel

# A ranking model is judged by this many users: more would cost as much as training without telling more.
_JUDGED_USERS = 1_000
# In single precision 64 MB.
_SCORES_AT_ONCE = 1 << 24


def validation_loss(model: TrainedModel, validation: RatingsDataset) -> float:
    """Mean squared error, or for a ranking model the mean cross-entropy of what users rated besides."""
    if model.objective == "rating":
        return mean_squared_error(predict_ratings(model, validation), validation.ratings)
    known = (validation.user_rows < validation.n_users) & (validation.item_rows < validation.n_items)
    users, places = np.unique(validation.user_rows[known], return_inverse=True)
    judged = places < _JUDGED_USERS
    if not judged.any():
        return float("nan")
    user_rows, places = users[:_JUDGED_USERS].astype(np.int64), places[judged]
    item_rows = validation.item_rows[known][judged]
    pairs = np.split(np.argsort(places, kind="stable"), np.cumsum(np.bincount(places))[:-1])
    losses = np.empty(len(places))
    per_block = max(1, _SCORES_AT_ONCE // validation.n_items)
    for start in range(0, len(user_rows), per_block):
        block = predict_all_logits(model, user_rows[start : start + per_block])
        for of_user, line in zip(pairs[start : start + per_block], block, strict=True):
            logits = line.astype(np.float64)
            logits -= logits.max()
            logits -= np.log(np.exp(logits).sum())
            losses[of_user] = -logits[item_rows[of_user]]
    return float(losses.mean())
