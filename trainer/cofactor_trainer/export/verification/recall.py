"""Measure the recall of a Recommend graph that does not score every item exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from cofactor_trainer.export.verification.parity import cpu_session
from cofactor_trainer.export.verification.reference import Reference
from cofactor_trainer.scoring.trained_model import TrainedModel

RECALL_K = 10


def measure_recall(path: Path, model: TrainedModel, reference: Reference, *, n_users: int) -> float:
    """Return the share of the exact ten best items that the graph at path recommends to trained users.

    No item is excluded. An item that scores as high as the tenth counts as found.
    """
    session = cpu_session(path)
    users = np.random.default_rng(0).permutation(len(model.user_bias) - 1)[:n_users]
    n_items = len(model.item_bias) - 1
    everything, k = torch.arange(n_items), min(RECALL_K, n_items)
    found = 0
    for user in users:
        factors, bias = model.user_factors[user : user + 1], model.user_bias[user : user + 1]
        inputs = {
            "user_factors": factors,
            "user_bias": bias,
            "popularity_weight": np.zeros(1, dtype=np.float32),
            "excluded_rows": np.array([[n_items]]),
            "k": np.array([k]),
        }
        order = None
        if model.n_ranking_factors:
            order = torch.tensor([model.order.rating_weight, model.order.ranking_weight])
            inputs["order_weights"] = order.numpy()[None]
        rows = session.run(["item_rows"], inputs)[0][0]
        with torch.inference_mode():
            vector = torch.from_numpy(factors)
            logits = reference.logits(vector, torch.from_numpy(bias), everything)
            exact = reference.score(vector, logits, everything, torch.zeros(()), order).numpy()
        found += int((exact[rows] >= np.partition(exact, -k)[-k] - 1e-5).sum())
    return found / (k * len(users))
