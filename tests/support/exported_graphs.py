"""Export single graphs without the rest of a version, and compute their inputs and expected outputs."""

from __future__ import annotations

import numpy as np

from cofactor_trainer.export.table_file import write_tables
from cofactor_trainer.graphs.onnx_writer import write_graph


def export_graph(folder, name, spec, model, popularity, **more_tables):
    """Export a graph and its tables to a folder and return its path."""
    norms = np.linalg.norm(model.item_factors, axis=1)
    arrays = {
        "item_factors": model.item_factors,
        "item_bias": model.item_bias,
        "item_log_popularity": popularity,
        "item_inverse_norms": (1 / np.maximum(norms, 1e-9)).astype(np.float32),
        **more_tables,
    }
    tables = {table.name: table for table in write_tables(folder / "tables.bin", arrays)}
    write_graph(spec, folder / f"{name}.onnx", tables, "tables.bin")
    return folder / f"{name}.onnx"


def query(model, users, *, excluded=(), k=10, weight=0.0):
    """Return the inputs of graph recommend for trained users who all exclude the same rows."""
    n_items = len(model.item_bias) - 1
    excluded = np.array([excluded or (n_items,)] * len(users))
    return {
        "user_factors": model.user_factors[users],
        "user_bias": model.user_bias[users],
        "popularity_weight": np.full(len(users), weight, dtype=np.float32),
        "excluded_rows": excluded,
        "k": np.array([k]),
    }


def best_by_numpy(model, popularity, inputs):
    """Return the k best rows, the lower row first among equals, computed in float64."""
    order = []
    for user in range(len(inputs["user_factors"])):
        scores = model.item_factors[:-1].astype(float) @ inputs["user_factors"][user] + model.item_bias[:-1]
        scores += inputs["popularity_weight"][user] * popularity[:-1]
        excluded = inputs["excluded_rows"][user]
        scores[excluded[excluded < len(scores)]] = -np.inf
        order.append(np.argsort(-scores, kind="stable")[: int(inputs["k"][0])])
    return np.array(order)
