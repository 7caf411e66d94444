"""Specify every graph: names and free dimensions of its inputs and outputs, as in docs/model-format.md."""

from __future__ import annotations

import torch
from torch import Tensor

from cofactor_trainer.graphs.graph_spec import Condition, GraphSpec
from cofactor_trainer.graphs.item_columns import SimilarItemsColumnwise
from cofactor_trainer.graphs.predict import Predict
from cofactor_trainer.graphs.ranking_fold_in import EmbedUserOfRatingsAndEvents, FoldIn
from cofactor_trainer.graphs.recommend import Recommend
from cofactor_trainer.graphs.scorer import Scorer
from cofactor_trainer.graphs.similarity import SimilarItems, Similarity


def predict_spec(scorer: Scorer) -> GraphSpec:
    """Specify graph predict."""
    users = {"user_factors": torch.zeros(2, scorer.n_user_factors), "user_bias": torch.zeros(2)}
    return GraphSpec(
        Predict(scorer),
        {**users, "item_rows": torch.zeros(2, dtype=torch.int64)},
        {"user_factors": {0: "N"}, "user_bias": {0: "N"}, "item_rows": {0: "N"}},
        ["logits", "ratings"],
        {"user_factors": {0: "B"}, "user_bias": {0: "B"}},
    )


def recommend_spec(
    scorer: Scorer, recommend: Recommend, single: Recommend | None = None, without_network: Recommend | None = None
) -> GraphSpec:
    """Specify graph recommend.

    The module `single`, if given, serves one user in place of `recommend`. The module `without_network`, if given,
    serves runs in which the weights of all rating logits are 0.
    """
    inputs = {
        "user_factors": torch.zeros(2, scorer.n_user_factors),
        "user_bias": torch.zeros(2),
        "popularity_weight": torch.zeros(2),
        "excluded_rows": torch.zeros(2, 3, dtype=torch.int64),
        "k": torch.tensor([2]),
    }
    dynamic_axes = {name: {0: "B"} for name in ("user_factors", "user_bias", "popularity_weight")}
    dynamic_axes["excluded_rows"] = {0: "B", 1: "E"}
    if scorer.n_ranking:
        inputs["order_weights"], dynamic_axes["order_weights"] = torch.ones(2, 2), {0: "B"}
    special: tuple[Condition, Recommend] | None = None
    if without_network is not None:
        special = "no rating weight", without_network
    elif single is not None:
        special = "one row", single
    return GraphSpec(recommend, inputs, dynamic_axes, ["item_rows", "scores", "ratings"], special=special)


def similar_items_spec(scorer: Scorer, item_inverse_norms: Tensor, item_columns: Tensor | None = None) -> GraphSpec:
    """Specify graph similar_items, which reads item_columns if they are given."""
    module = SimilarItems(scorer, item_inverse_norms)
    if item_columns is not None:
        module = SimilarItemsColumnwise(scorer, item_inverse_norms, item_columns)
    rows = torch.zeros(2, dtype=torch.int64)
    return GraphSpec(
        module,
        {"item_rows": rows, "excluded_rows": rows.repeat(2), "k": torch.tensor([2])},
        {"item_rows": {0: "M"}, "excluded_rows": {0: "E"}},
        ["similar_rows", "scores"],
    )


def similarity_spec(scorer: Scorer, item_inverse_norms: Tensor) -> GraphSpec:
    """Specify graph similarity."""
    rows = torch.zeros(2, dtype=torch.int64)
    return GraphSpec(
        Similarity(scorer, item_inverse_norms),
        {"item_rows": rows, "candidate_rows": rows.repeat(2)},
        {"item_rows": {0: "M"}, "candidate_rows": {0: "C"}},
        ["scores"],
    )


def embed_user_spec(fold_in: FoldIn) -> GraphSpec:
    """Specify graph embed_user."""
    inputs = {"item_rows": torch.zeros(2, 3, dtype=torch.int64), "ratings": torch.zeros(2, 3)}
    dynamic_axes = {"item_rows": {0: "B", 1: "N"}, "ratings": {0: "B", 1: "N"}}
    if isinstance(fold_in, EmbedUserOfRatingsAndEvents):
        inputs |= {"event_rows": torch.zeros(2, 4, dtype=torch.int64), "event_weights": torch.zeros(2, 4)}
        dynamic_axes |= {"event_rows": {0: "B", 1: "E"}, "event_weights": {0: "B", 1: "E"}}
    if fold_in.n_profile_columns:
        inputs["profile"] = torch.zeros(2, fold_in.n_profile_columns)
        dynamic_axes["profile"] = {0: "B"}
    return GraphSpec(fold_in, inputs, dynamic_axes, ["user_factors", "user_bias", "fitted"])
