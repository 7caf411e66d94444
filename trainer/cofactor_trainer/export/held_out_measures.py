"""Measure a model on the held-out ratings, and keep the measures in its version for the report.

The exported model may have been trained again on all ratings. No rating is left then to judge it on, so the measures of
the model that was judged are kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cofactor_trainer.data.dataset import Float32Array, Int64Array, RatingsDataset
from cofactor_trainer.data.splits import Split
from cofactor_trainer.errors import InputError
from cofactor_trainer.evaluation.baselines import fit_biases, fit_item_means, fit_popularity
from cofactor_trainer.evaluation.error_groups import GroupErrors, errors_by_popularity, errors_by_rating
from cofactor_trainer.evaluation.evaluate import evaluate_ranking, relevance_threshold
from cofactor_trainer.evaluation.lorenz_curve import LorenzCurve, squared_error_curve
from cofactor_trainer.evaluation.metrics import rating_metrics
from cofactor_trainer.evaluation.new_users import NewUserErrors, new_user_errors, ratings_by_user
from cofactor_trainer.export.manifest import default_popularity_weight
from cofactor_trainer.graphs.fold_in import EmbedRatingUser
from cofactor_trainer.graphs.prior_estimation import estimate_rating_prior
from cofactor_trainer.graphs.scorer import Scorer
from cofactor_trainer.scoring.numpy_scorer import predict_ratings
from cofactor_trainer.scoring.ranking_part import rating_part
from cofactor_trainer.scoring.trained_model import BY_RATING, Order, TrainedModel
from cofactor_trainer.training.threads import one_thread

MEASURES_FILE = "measures.json"
# Rankings are measured on a sample of the users: of 162,000 users of MovieLens 25M, all would take minutes. The more
# items there are to score, the fewer users.
_RANKED_USERS, _FEWEST_RANKED_USERS, _MOST_SCORES = 5_000, 1_000, 500_000_000
_CURVE_POINTS = 101


@dataclass(frozen=True)
class HeldOutMeasures:
    """Measures of a model on ratings that it had not seen.

    Attributes:
        models: name -> measure -> value, for the model in its orders, and for baselines trained on the same ratings.
        k: number of recommendations that the ranking measures look at.
        relevant_from: lowest rating of a relevant item; None for events, which are all relevant.
        by_rating: errors by the true rating; None for a ranking model, like the next three.
        by_popularity: errors by the number of training ratings of the item.
        squared_error: how concentrated the squared error is in the users, the most active first.
        new_users: errors for new users; None too if no user has enough ratings.
    """

    models: Mapping[str, Mapping[str, float]]
    k: int
    relevant_from: float | None
    by_rating: GroupErrors | None = None
    by_popularity: GroupErrors | None = None
    squared_error: LorenzCurve | None = None
    new_users: NewUserErrors | None = None

    def new_user_metrics(self) -> dict[str, float]:
        """Return the error for new users by the number of their ratings, as metrics of the manifest."""
        if self.new_users is None:
            return {}
        return {
            f"new_user_rmse@{n}": rmse for n, rmse in zip(self.new_users.n_ratings, self.new_users.rmse, strict=True)
        }

    def to_json(self) -> dict[str, Any]:
        """Return the measures as values that JSON can express."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), default=lambda array: array.tolist()))
        return plain

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> HeldOutMeasures:
        """Return the measures that to_json returned as `content`."""
        settings = dict(content)
        for name in ("by_rating", "by_popularity"):
            if settings[name] is not None:
                labels, *numbers = (settings[name][key] for key in ("labels", "rmse", "mean_error", "counts"))
                settings[name] = GroupErrors(labels, *map(np.asarray, numbers))
        if settings["squared_error"] is not None:
            population, held = (settings["squared_error"][key] for key in ("population", "held"))
            settings["squared_error"] = LorenzCurve(np.asarray(population), np.asarray(held))
        if settings["new_users"] is not None:
            settings["new_users"] = NewUserErrors(**settings["new_users"])
        return cls(**settings)


def read_measures(directory: Path) -> HeldOutMeasures | None:
    """Read the measures in a version directory; None if it has none, because it is older or was never judged.

    Raises:
        InputError: the file cannot be read.
    """
    path = directory / MEASURES_FILE
    try:
        return HeldOutMeasures.from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError("holds no measures that this release can read: export the version again", path) from error


def measure_held_out(model: TrainedModel, split: Split, k: int = 10) -> HeldOutMeasures:
    """Measure a model that was trained on ``split.train``, and baselines, on ``split.validation``."""
    ratings = split.of_ratings()
    train, held_out = ratings.train, ratings.validation
    relevant_from = relevance_threshold(split) if split.train.events is None else None
    measures = HeldOutMeasures(_models(model, split, k), k, relevant_from)
    if model.objective != "rating":
        return measures
    predicted = predict_ratings(model, held_out)
    counts = np.append(train.item_rating_counts(), 0)[held_out.item_rows]
    return replace(
        measures,
        by_rating=errors_by_rating(predicted, held_out.ratings),
        by_popularity=errors_by_popularity(counts, predicted, held_out.ratings),
        squared_error=squared_error_curve(
            np.bincount(train.user_rows, minlength=train.n_users), predicted, held_out
        ).thinned(_CURVE_POINTS),
        new_users=_new_users(rating_part(model), train, held_out),
    )


def _models(model: TrainedModel, split: Split, k: int) -> dict[str, dict[str, float]]:
    """Measure the model in its own order and, if that adds popularity, by prediction alone; then the baselines."""
    sample = sample_users(split)
    weight = default_popularity_weight(model)
    measured = {"this model": _errors(model, split) | _ranking(model, sample, k, weight)}
    if weight or model.n_ranking_factors:
        measured["this model, ordered by predicted rating"] = _ranking(model, sample, k, 0.0, BY_RATING)
    baselines = {"popularity": fit_popularity(split.train)}
    if model.objective == "rating" or split.train.events is None:
        rated = split.of_ratings().train
        baselines |= {"item means": fit_item_means(rated), "user and item biases": fit_biases(rated)}
    for name, baseline in baselines.items():
        errors = _errors(baseline, split) if model.objective == "rating" else {}
        measured[name] = errors | _ranking(baseline, sample, k, 0.0)
    return measured


def _errors(model: TrainedModel, split: Split) -> dict[str, float]:
    if model.objective != "rating":
        return {}
    held_out = split.of_ratings().validation
    metrics = rating_metrics(predict_ratings(model, held_out), held_out.ratings)
    return {"rmse": metrics.rmse, "mae": metrics.mae}


def _ranking(
    model: TrainedModel, split: Split, k: int, popularity_weight: float, order: Order | None = None
) -> dict[str, float]:
    """Return the ranking measures of an order, None for the model's own; none if no held-out rating is relevant."""
    try:
        metrics = asdict(evaluate_ranking(model, split, k, order=order, popularity_weight=popularity_weight))
    except InputError:
        return {}
    return {name: metrics[name] for name in ("ndcg", "recall", "coverage", "first_item_share", "n_users")}


def n_sampled_users(split: Split) -> int:
    """Return the number of users whose rankings are measured."""
    return min(_RANKED_USERS, max(_FEWEST_RANKED_USERS, _MOST_SCORES // split.train.n_items))


def sample_users(split: Split) -> Split:
    """Leave out the held-out ratings of all but a sample of the users."""
    held_out = split.validation
    sample = np.random.default_rng(0).permutation(split.train.n_users)[: n_sampled_users(split)]
    return replace(split, validation=held_out.select_ratings(np.isin(held_out.user_rows, sample)))


def _new_users(model: TrainedModel, train: RatingsDataset, held_out: RatingsDataset) -> NewUserErrors | None:
    """Fold in users in torch, as the graph of a version of this model would."""
    scorer = Scorer(model)
    fold_in: EmbedRatingUser | None = None

    def embed(item_rows: Int64Array, ratings: Float32Array) -> tuple[Float32Array, Float32Array]:
        nonlocal fold_in
        with torch.inference_mode(), one_thread():
            # Not before it is needed: the prior takes a pass over all ratings.
            fold_in = fold_in or EmbedRatingUser(scorer, estimate_rating_prior(model, train))
            profile = torch.zeros(len(item_rows), fold_in.n_profile_columns) if fold_in.n_profile_columns else None
            factors, bias, _ = fold_in(torch.from_numpy(item_rows), torch.from_numpy(ratings), profile)
        return factors.numpy(), bias.numpy()

    def predict(factors: Float32Array, bias: Float32Array, item_rows: Int64Array) -> Float32Array:
        new_users = replace(model, user_factors=factors, user_bias=bias)
        pairs = replace(
            held_out,
            user_rows=np.arange(len(bias), dtype=np.int32),
            item_rows=item_rows.astype(np.int32),
            ratings=np.zeros(len(bias), np.float32),
            timestamps=None,
        )
        return predict_ratings(new_users, pairs)

    training = ratings_by_user(train.user_rows, train.item_rows, train.ratings, train.n_users)
    return new_user_errors(embed, predict, training, held_out, train.n_items)
