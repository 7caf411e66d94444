"""Judge a new model against the running version, on ratings that neither has learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cofactor_trainer.data.dataset import Float64Array, Int64Array
from cofactor_trainer.data.splits import Split
from cofactor_trainer.errors import InputError
from cofactor_trainer.evaluation.evaluate import judge_recommendations
from cofactor_trainer.evaluation.metrics import ndcg_by_user
from cofactor_trainer.export.manifest import default_popularity_weight
from cofactor_trainer.refresh.pair_table import sums_by_row
from cofactor_trainer.scoring.numpy_scorer import predict_ratings
from cofactor_trainer.scoring.trained_model import TrainedModel

RANKED_ITEMS = 10
_RESAMPLES = 2_000
_INTERVAL = (2.5, 97.5)
_FEWEST_USERS = 5


@dataclass(frozen=True)
class Comparison:
    """A measure of two models on the same users, and the interval of their difference.

    Attributes:
        measure: name of the measure.
        lower_is_better: True for errors.
        running: value of the running version.
        new: value of the new model.
        interval: 95 % interval of new less running, of a paired bootstrap over users; None with fewer than 5 users,
            who say too little about others.
        n_users: number of users.
    """

    measure: str
    lower_is_better: bool
    running: float
    new: float
    interval: tuple[float, float] | None
    n_users: int

    @property
    def is_worse(self) -> bool:
        """True if the whole interval says that the new model is worse."""
        return self._is_surely(1.0 if self.lower_is_better else -1.0)

    @property
    def is_better(self) -> bool:
        """True if the whole interval says that the new model is better."""
        return self._is_surely(-1.0 if self.lower_is_better else 1.0)

    def describe(self) -> str:
        """Say in one line what came out."""
        verdict = "worse" if self.is_worse else "better" if self.is_better else "no difference to be seen"
        between = "" if self.interval is None else "95 % interval {:+.4f} to {:+.4f}, ".format(*self.interval)
        return (
            f"{self.measure}: running {self.running:.4f}, new {self.new:.4f}, difference "
            f"{self.new - self.running:+.4f} ({between}{self.n_users:,} users): {verdict}"
        )

    def _is_surely(self, sign: float) -> bool:
        """Return True if the whole interval has a sign."""
        return self.interval is not None and min(sign * end for end in self.interval) > 0

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as values that JSON can express."""
        return {
            "running": self.running,
            "new": self.new,
            "difference": self.new - self.running,
            "interval": None if self.interval is None else list(self.interval),
            "users": self.n_users,
        }


def compare_models(running: TrainedModel, new: TrainedModel, split: Split) -> list[Comparison]:
    """Compare two models of the rows of ``split.train`` on the held-out part.

    The first comparison is of the squared error, if the models predict ratings. The NDCG follows if a relevant item is
    held out. Both models recommend in their own order, to users that they know.
    """
    comparisons = []
    held_out = split.validation
    if new.objective == "rating":
        errors = [
            np.square(predict_ratings(model, held_out).astype(np.float64) - held_out.ratings)
            for model in (running, new)
        ]
        comparisons.append(_compare("mse", errors, _users(split), lower_is_better=True))
    try:
        judged = [
            judge_recommendations(model, split, RANKED_ITEMS, popularity_weight=default_popularity_weight(model))
            for model in (running, new)
        ]
    except InputError:  # no relevant item is held out
        return comparisons
    gains = [ndcg_by_user(one.hits, one.n_relevant) for one in judged]
    return [*comparisons, _compare(f"ndcg@{RANKED_ITEMS}", gains, judged[0].user_rows, lower_is_better=False)]


def is_worse(comparisons: Sequence[Comparison]) -> bool:
    """Return True if the new model is worse by any measure."""
    return any(comparison.is_worse for comparison in comparisons)


def is_better(comparisons: Sequence[Comparison]) -> bool:
    """Return True if the new model is better by a measure and worse by none."""
    return any(comparison.is_better for comparison in comparisons) and not is_worse(comparisons)


def _users(split: Split) -> Int64Array:
    return split.validation.user_rows.astype(np.int64)


def _compare(
    measure: str, values: Sequence[Float64Array], user_rows: Int64Array, *, lower_is_better: bool
) -> Comparison:
    """Compare values (n,) of two models, by the user that every value is of, (n,)."""
    running, new = values
    _, users = np.unique(user_rows, return_inverse=True)
    counts = np.bincount(users).astype(np.float64)
    enough = len(counts) >= _FEWEST_USERS
    interval = _paired_interval(sums_by_row(users, new - running, len(counts)), counts) if enough else None
    return Comparison(measure, lower_is_better, float(running.mean()), float(new.mean()), interval, len(counts))


def _paired_interval(differences: Float64Array, counts: Float64Array) -> tuple[float, float]:
    """Return the interval of a mean difference: sums (n_users,) and numbers (n_users,) of the values of every user.

    Users are drawn, not ratings: the ratings of one user err together (B. Efron and R. Tibshirani, An introduction to
    the bootstrap, 1993).
    """
    random = np.random.default_rng(0)
    means = np.empty(_RESAMPLES)
    for number in range(_RESAMPLES):
        drawn = random.integers(len(counts), size=len(counts))
        means[number] = differences[drawn].sum() / counts[drawn].sum()
    low, high = np.percentile(means, _INTERVAL)
    return float(low), float(high)
