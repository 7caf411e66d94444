"""Compute the loss of a model on held-out ratings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cofactor_trainer.data.dataset import Int64Array, RatingsDataset, RowArray
from cofactor_trainer.evaluation.metrics import mean_squared_error
from cofactor_trainer.scoring.numpy_scorer import predict_all_logits, predict_ratings
from cofactor_trainer.scoring.trained_model import TrainedModel

# A ranking model is evaluated on this many users. More would take as long as training and would not change the loss.
_JUDGED_USERS = 1_000
# Scores in memory at a time, 64 MB in single precision.
_SCORES_AT_ONCE = 1 << 24


def validation_loss(model: TrainedModel, validation: RatingsDataset) -> float:
    """Return the mean squared error, or for a ranking model the mean cross-entropy, on held-out ratings.

    The cross-entropy is that of a softmax over the catalogue, with every held-out item as one draw: the multinomial
    likelihood of D. Liang et al., Variational autoencoders for collaborative filtering, 2018. It is NaN if no known
    user has a known item held out.
    """
    if model.objective == "rating":
        return mean_squared_error(predict_ratings(model, validation), validation.ratings)
    known = (validation.user_rows < validation.n_users) & (validation.item_rows < validation.n_items)
    users, places = np.unique(validation.user_rows[known], return_inverse=True)
    judged = places < _JUDGED_USERS
    if not judged.any():
        return float("nan")
    user_rows = users[:_JUDGED_USERS].astype(np.int64)
    return float(_cross_entropies(model, user_rows, places[judged], validation.item_rows[known][judged]).mean())


def _cross_entropies(
    model: TrainedModel, user_rows: Int64Array, places: Int64Array, item_rows: RowArray
) -> npt.NDArray[np.float64]:
    """Return -log softmax of each held-out item among the whole catalogue.

    user_rows (n_users,), places (n,) positions in user_rows, item_rows (n,) -> (n,).
    """
    pairs_by_user = np.split(np.argsort(places, kind="stable"), np.cumsum(np.bincount(places))[:-1])
    losses = np.empty(len(places))
    users_per_block = max(1, _SCORES_AT_ONCE // (len(model.item_bias) - 1))
    for start in range(0, len(user_rows), users_per_block):
        block = predict_all_logits(model, user_rows[start : start + users_per_block])
        for pairs, user_logits in zip(pairs_by_user[start : start + users_per_block], block, strict=True):
            logits = user_logits.astype(np.float64)
            logits -= logits.max()
            logits -= np.log(np.exp(logits).sum())
            losses[pairs] = -logits[item_rows[pairs]]
    return losses
