"""Read a version back as the model that a warm start begins with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cofactor_trainer.data.dataset import Float32Array, RowArray
from cofactor_trainer.data.events.feedback import MEAN_DRAWS
from cofactor_trainer.errors import InputError
from cofactor_trainer.export.version_reader import ExportedVersion, read_version
from cofactor_trainer.graphs.user_prior import UserPrior
from cofactor_trainer.scoring.trained_model import BY_RATING, Objective, Order, TrainedModel

_NEEDED_TABLES = ("user_factors", "user_bias", "item_factors", "item_bias", "rated.offsets", "rated.item_rows")
_IN_FULL = "train it in full, with cofactor-train --dataset"


@dataclass(frozen=True)
class StartingVersion:
    """A version with everything that a warm start needs.

    Attributes:
        exported: the version directory.
        model: model of the version, in its rows.
        user_ids: ids by row.
        item_ids: ids by row.
        user_rows: (n,) the pairs of a user and an item that the version knows, sorted by user and item.
        item_rows: (n,).
        values: (n,) the rating of every pair, or the weight of its events.
        prior: prior over user rows of the rating part; None for a model that only ranks.
        ranking_prior: prior over the ranking factors of users; None for a model without a ranking part.
        mean_weight: mean weight of the pairs if the version learnt from events; 0 for ratings.
    """

    exported: ExportedVersion
    model: TrainedModel
    user_ids: list[str]
    item_ids: list[str]
    user_rows: RowArray
    item_rows: RowArray
    values: Float32Array
    prior: UserPrior | None
    ranking_prior: UserPrior | None
    mean_weight: float

    @property
    def n_users(self) -> int:
        """Number of users, without the unknown user."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Number of items, without the unknown item."""
        return len(self.item_ids)


def read_starting_version(path: Path) -> StartingVersion:
    """Read a version to start from.

    Raises:
        InputError: the directory is no version, or a version that cannot be warm-started.
    """
    exported = read_version(path)
    _check(exported)
    tables, manifest = exported.tables, exported.manifest
    model = _model(exported)
    offsets = np.asarray(tables["rated.offsets"])
    ranking_prior = None
    if "ranking_prior_mean" in tables:
        ranking_prior = UserPrior(
            tables["ranking_prior_mean"].astype(np.float64), tables["ranking_prior_covariance"].astype(np.float64)
        )
    prior = None
    if model.objective == "rating":
        precision = tables["user_prior_precision"].astype(np.float64)
        prior = UserPrior(tables["user_prior_mean"].astype(np.float64), _inverse(precision))
    return StartingVersion(
        exported=exported,
        model=model,
        user_ids=exported.strings("user_ids"),
        item_ids=exported.strings("item_ids"),
        user_rows=np.repeat(np.arange(len(offsets) - 1, dtype=np.int32), np.diff(offsets)),
        item_rows=np.array(tables["rated.item_rows"], np.int32),
        values=np.array(tables["rated.ratings"], np.float32),
        prior=prior,
        ranking_prior=ranking_prior,
        mean_weight=MEAN_DRAWS / manifest.events.fold_in_scale if manifest.HasField("events") else 0.0,
    )


def _check(exported: ExportedVersion) -> None:
    """Refuse versions that cannot be warm-started, each with the remedy."""
    manifest, path = exported.manifest, exported.path
    if manifest.architecture != "dot-product":
        raise InputError(
            f"the version is a {manifest.architecture}, and only dot products can be warm-started: {_IN_FULL}, or "
            "choose recipe dot-bias or best",
            path,
        )
    if manifest.HasField("events") and manifest.objective == "rating":
        raise InputError(
            f"the version learnt from ratings and events, and only versions of one of them can be warm-started: "
            f"{_IN_FULL} and --feedback both",
            path,
        )
    needed = [*_NEEDED_TABLES, "user_prior_mean", "user_prior_precision"]
    if manifest.ranking_factor_count or manifest.objective == "ranking":
        needed += ["ranking_prior_mean", "ranking_prior_covariance"]
    missing = [name for name in needed if name not in exported.tables]
    missing += [] if any(graph.name == "embed_user" for graph in manifest.graphs) else ["graph embed_user"]
    if missing:
        raise InputError(
            f"the version was written by an older trainer and lacks {', '.join(missing)}, so it cannot be "
            f"warm-started: {_IN_FULL} once, and start from that version",
            path,
        )


def _model(exported: ExportedVersion) -> TrainedModel:
    manifest = exported.manifest
    objective: Objective = "ranking" if manifest.objective == "ranking" else "rating"
    n_ranking = manifest.ranking_factor_count
    orders = [
        Order(order.rating_weight, order.ranking_weight, order.popularity_weight) if n_ranking else BY_RATING
        for order in (manifest.default_order, manifest.new_user_order)
    ]
    ends = manifest.rating_range
    user_factors, user_bias, item_factors, item_bias = (
        np.array(exported.tables[name], np.float32)
        for name in ("user_factors", "user_bias", "item_factors", "item_bias")
    )
    return TrainedModel(
        architecture="dot-product",
        objective=objective,
        user_factors=user_factors,
        user_bias=user_bias,
        item_factors=item_factors,
        item_bias=item_bias,
        global_bias=float(manifest.global_bias),
        rating_range=(float(ends.low), float(ends.high)) if manifest.HasField("rating_range") else None,
        n_dot_factors=manifest.user_factor_count - n_ranking,
        n_ranking_factors=n_ranking,
        order=orders[0],
        new_user_order=orders[1],
    )


def _inverse(precision: np.ndarray) -> np.ndarray:
    """Invert a symmetric matrix, symmetrically: rounding must not take that away."""
    inverse = np.linalg.inv(precision)
    return (inverse + inverse.T) / 2
