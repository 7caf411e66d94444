"""Train one of Surprise's factor models for benchmarks/ranking.py, which runs this script in Surprise's environment.

    python -m benchmarks.surprise.factors MODEL TRAIN.npz FACTORS.npz

TRAIN.npz has user_rows, item_rows and ratings (n,). FACTORS.npz gets users (n_users, d), items (n_items, d) and
item_bias (n_items,): their dot product plus the bias orders the items of a user as the predicted rating does. Surprise
needs numpy 1, hence an environment of its own, without this project: pip install -r
benchmarks/surprise/requirements.txt.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import surprise

MODELS = {
    "SVD, default settings": lambda: surprise.SVD(random_state=0),
    "SVD, 100 factors, 60 epochs, regularisation 0.1": lambda: surprise.SVD(
        n_factors=100, n_epochs=60, lr_all=0.01, reg_all=0.1, random_state=0
    ),
    "SVD without biases": lambda: surprise.SVD(biased=False, random_state=0),
    "SVD++, default settings": lambda: surprise.SVDpp(random_state=0, cache_ratings=True),
    "NMF, default settings": lambda: surprise.NMF(random_state=0),
}


def main() -> None:
    """Train, and write the factors in the numbering of the train file."""
    name, train_path, factors_path = sys.argv[1:]
    with np.load(train_path) as arrays:
        train = pd.DataFrame({column: arrays[column] for column in ("user_rows", "item_rows", "ratings")})
    scale = surprise.Reader(rating_scale=(train.ratings.min(), train.ratings.max()))
    trainset = surprise.Dataset.load_from_df(train, scale).build_full_trainset()
    model = MODELS[name]().fit(trainset)
    users = model.pu.copy()
    if isinstance(model, surprise.SVDpp):
        for user, ratings in trainset.ur.items():
            users[user] += model.yj[[item for item, _ in ratings]].sum(0) / np.sqrt(len(ratings))
    # Surprise numbers users and items in the order of their first ratings.
    user_order = [trainset.to_inner_uid(row) for row in range(trainset.n_users)]
    item_order = [trainset.to_inner_iid(row) for row in range(trainset.n_items)]
    np.savez(factors_path, users=users[user_order], items=model.qi[item_order], item_bias=model.bi[item_order])


if __name__ == "__main__":
    main()
