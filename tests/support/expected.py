"""Compute with numpy what a server must return on the models of synthetic.py."""

from __future__ import annotations

import numpy as np

from cofactor.v1.recommender_pb2 import User
from tests.support import synthetic

ARCHITECTURES = {"dot": "dot-product", "net": "neural-network", "hybrid": "hybrid"}
N_ITEMS = synthetic.N_ITEMS
ITEM_IDS = [f"i{row:03}" for row in range(N_ITEMS)]
USER = 3
KNOWN = User(user_id="u003")
DATASET = synthetic.make_dataset()
RATED = DATASET.item_rows[DATASET.user_rows == USER]
COUNTS = DATASET.item_rating_counts()


def logits_of(name, user=USER):
    """Return the logits (n_items,) of a user, by the definition in docs/model-format.md."""
    model = synthetic.make_model(ARCHITECTURES[name])
    factors, items = model.user_factors[user], model.item_factors[:-1]
    n = model.n_dot_factors
    logits = items[:, :n] @ factors[:n] + model.item_bias[:-1] + model.user_bias[user] + model.global_bias
    if model.layers:
        hidden = np.hstack([np.tile(factors[n:], (len(items), 1)), items[:, n:]])
        for layer in model.layers[:-1]:
            hidden = np.maximum(hidden @ layer.weight.T + layer.bias, 0)
        logits = logits + (hidden @ model.layers[-1].weight.T + model.layers[-1].bias)[:, 0]
    return logits


def item_effects_of(name):
    """Return the mean logit of each item over the users, less that of all ratings, shrunk by the count: (n_items,)."""
    means = np.mean([logits_of(name, user) for user in range(synthetic.N_USERS)], axis=0)
    return (means - np.average(means, weights=COUNTS)) * COUNTS / (COUNTS + 5)


def ratings_of(logits):
    """Return the predicted ratings of logits, clipped to the rating scale."""
    return np.clip(0.5 + 5 / (1 + np.exp(-logits)), 0.5, 5.0)


def ids_of(response):
    """Return the item ids of a response, in its order."""
    return [result.item_id for result in response.results]


def ordered(scores, allowed):
    """Return the ids of the allowed rows, best score first, equal scores by row."""
    rows = np.array(sorted(allowed), dtype=int)
    return [ITEM_IDS[row] for row in rows[np.argsort(-scores[rows], kind="stable")]]
