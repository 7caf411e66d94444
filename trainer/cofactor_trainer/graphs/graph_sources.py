"""Every graph with the names and free dimensions of its inputs and outputs, as docs/model-format.md has them."""

from __future__ import annotations

import torch
from torch import Tensor

from cofactor_trainer.graphs.fold_in import FoldIn
from cofactor_trainer.graphs.item_columns import SimilarItemsByColumn
from cofactor_trainer.graphs.modules import Predict, Recommend, Scorer, SimilarItems, Similarity
from cofactor_trainer.graphs.onnx_writer import GraphSource


def predict_source(scorer: Scorer) -> GraphSource:
    """Graph predict."""
    users = {"user_factors": torch.zeros(2, scorer.n_user_factors), "user_bias": torch.zeros(2)}
    return GraphSource(
        Predict(scorer),
        {**users, "item_rows": torch.zeros(2, dtype=torch.int64)},
        {"user_factors": {0: "N"}, "user_bias": {0: "N"}, "item_rows": {0: "N"}},
        ["logits", "ratings"],
        {"user_factors": {0: "B"}, "user_bias": {0: "B"}},
    )


def recommend_source(scorer: Scorer, recommend: Recommend, one: Recommend | None = None) -> GraphSource:
    """Graph recommend; `one` in the place of `recommend` for one user."""
    return GraphSource(
        recommend,
        {
            "user_factors": torch.zeros(2, scorer.n_user_factors),
            "user_bias": torch.zeros(2),
            "popularity_weight": torch.zeros(2),
            "excluded_rows": torch.zeros(2, 3, dtype=torch.int64),
            "k": torch.tensor([2]),
        },
        {
            "user_factors": {0: "B"},
            "user_bias": {0: "B"},
            "popularity_weight": {0: "B"},
            "excluded_rows": {0: "B", 1: "E"},
        },
        ["item_rows", "scores", "ratings"],
        single=one,
    )


def similar_items_source(scorer: Scorer, item_inverse_norms: Tensor, item_columns: Tensor | None = None) -> GraphSource:
    """Graph similar_items, which reads item_columns where there are any."""
    module = SimilarItems(scorer, item_inverse_norms)
    if item_columns is not None:
        module = SimilarItemsByColumn(scorer, item_inverse_norms, item_columns)
    rows = torch.zeros(2, dtype=torch.int64)
    return GraphSource(
        module,
        {"item_rows": rows, "excluded_rows": rows.repeat(2), "k": torch.tensor([2])},
        {"item_rows": {0: "M"}, "excluded_rows": {0: "E"}},
        ["similar_rows", "scores"],
    )


def similarity_source(scorer: Scorer, item_inverse_norms: Tensor) -> GraphSource:
    """Graph similarity."""
    rows = torch.zeros(2, dtype=torch.int64)
    return GraphSource(
        Similarity(scorer, item_inverse_norms),
        {"item_rows": rows, "candidate_rows": rows.repeat(2)},
        {"item_rows": {0: "M"}, "candidate_rows": {0: "C"}},
        ["scores"],
    )


def embed_user_source(fold_in: FoldIn) -> GraphSource:
    """Graph embed_user."""
    inputs = {"item_rows": torch.zeros(2, 3, dtype=torch.int64), "ratings": torch.zeros(2, 3)}
    free = {"item_rows": {0: "B", 1: "N"}, "ratings": {0: "B", 1: "N"}}
    if fold_in.n_profile_columns:
        inputs["profile"] = torch.zeros(2, fold_in.n_profile_columns)
        free["profile"] = {0: "B"}
    return GraphSource(fold_in, inputs, free, ["user_factors", "user_bias", "fitted"])
