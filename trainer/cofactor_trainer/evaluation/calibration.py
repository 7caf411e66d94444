"""Fit probabilities of interaction on held-out events, and measure how far they are off."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cofactor_trainer.data.dataset import BoolArray, Float64Array, Int64Array
from cofactor_trainer.data.splits import Split
from cofactor_trainer.evaluation.evaluate import left_out_items, relevant_items, top_k_rows
from cofactor_trainer.scoring.calibration import Curve, log_shares
from cofactor_trainer.scoring.numpy_scorer import score_all
from cofactor_trainer.scoring.trained_model import Order, TrainedModel

# The best items of every user that curves are fitted on: what lists show, and enough below it.
CANDIDATES = 100
# With fewer held-out events among these, a curve would be chance.
FEWEST_HITS = 50
SHOWN = 10
BINS = 10
# The weights of the shares and of the activity are 1 if events are draws from the softmax, in proportion to the events
# so far. The ridge pulls towards that; it matters in small tables only.
_USUAL_WEIGHT, _RIDGE = 1.0, 1.0
_STEPS = 50
_SMALLEST_STEP = 1e-9
_SCORES_PER_BLOCK = 1 << 21


@dataclass(frozen=True)
class CandidatePairs:
    """The best items of users, best first, and those of them that are held out.

    Attributes:
        log_shares: (n_users, k), -inf where a user has fewer candidates.
        is_hit: (n_users, k), True for a held-out item.
        n_items: (n_users,), items that the user has events of.
    """

    log_shares: Float64Array
    is_hit: BoolArray
    n_items: Int64Array

    @property
    def n_hits(self) -> int:
        """Return the number of held-out items among the candidates."""
        return int(self.is_hit.sum())

    def select(self, users: Int64Array | BoolArray) -> CandidatePairs:
        """Return the pairs of some of the users."""
        return CandidatePairs(self.log_shares[users], self.is_hit[users], self.n_items[users])

    def first(self, k: int) -> CandidatePairs:
        """Return the first k candidates of every user."""
        return CandidatePairs(self.log_shares[:, :k], self.is_hit[:, :k], self.n_items)

    def columns(self) -> tuple[Float64Array, BoolArray]:
        """Return the inputs of a curve for all pairs, 1, log share and log(n + 1), and the hits: (m, 3), (m,)."""
        exists = np.isfinite(self.log_shares)
        activity = np.broadcast_to(np.log1p(self.n_items)[:, None], exists.shape)
        shares = self.log_shares[exists]
        return np.column_stack([np.ones(len(shares)), shares, activity[exists]]), self.is_hit[exists]

    def judge(self, curve: Curve) -> tuple[Float64Array, BoolArray]:
        """Return the probability of every pair, and whether it is a hit: (m,), (m,)."""
        exists = np.isfinite(self.log_shares)
        return curve.probabilities(self.log_shares, self.n_items[:, None])[exists], self.is_hit[exists]


def find_candidates(
    model: TrainedModel, split: Split, users: Int64Array, order: Order, k: int = CANDIDATES
) -> CandidatePairs:
    """Find the best items of users (n,) that they have no event of in the train part."""
    train = split.train
    left_out, held_out = left_out_items(split, users), relevant_items(split, 0.0)
    boosts = order.popularity_weight * np.log1p(train.item_rating_counts())
    shares, hits = [], []
    per_block = max(1, _SCORES_PER_BLOCK // train.n_items)
    for block in np.split(users, range(per_block, len(users), per_block)):
        scores = score_all(model, block, order) + boosts
        is_left_out, is_held_out = (np.zeros(scores.shape, bool) for _ in range(2))
        is_left_out[left_out.indices(block)] = True
        is_held_out[held_out.indices(block)] = True
        of_block = log_shares(scores.astype(np.float64), is_left_out)
        rows = top_k_rows(of_block.astype(np.float32), min(k, train.n_items))
        exists, known = rows >= 0, np.maximum(rows, 0)
        shares.append(np.where(exists, np.take_along_axis(of_block, known, 1), -math.inf))
        hits.append(np.take_along_axis(is_held_out, known, 1) & exists)
    return CandidatePairs(np.concatenate(shares), np.concatenate(hits), left_out.counts[users])


def fit_curve(pairs: CandidatePairs) -> Curve | None:
    """Fit a curve by maximum likelihood, with Newton's method.

    Returns:
        The curve; None if too few of the candidates are held out, or if better scores do not mean more events.
    """
    if pairs.n_hits < FEWEST_HITS:
        return None
    columns, is_hit = pairs.columns()
    weights = np.array([0.0, _USUAL_WEIGHT, _USUAL_WEIGHT])
    usual = columns @ weights
    weights[0] = math.log(is_hit.mean() / max(1 - is_hit.mean(), 1e-9)) - float(np.log(np.exp(usual).mean()))
    for _ in range(_STEPS):
        step = _newton_step(columns, is_hit, weights)
        weights = weights + step
        if np.abs(step).max() < _SMALLEST_STEP:
            break
    if not np.isfinite(weights).all() or weights[1] <= 0:
        return None
    return Curve(*(float(weight) for weight in weights))


def _newton_step(columns: Float64Array, is_hit: BoolArray, weights: Float64Array) -> Float64Array:
    """Return the step of Newton's method towards the largest penalised likelihood, halved until it helps."""
    ridge: Float64Array = np.array([0.0, _RIDGE, _RIDGE])
    probabilities = 0.5 + 0.5 * np.tanh(0.5 * (columns @ weights))
    gradient = columns.T @ (is_hit - probabilities) - ridge * (weights - _USUAL_WEIGHT)
    curvature = (columns * (probabilities * (1 - probabilities))[:, None]).T @ columns + np.diag(ridge)
    step = np.linalg.solve(curvature + 1e-9 * np.eye(len(weights)), gradient).astype(np.float64)
    before = _penalised_loss(columns, is_hit, weights)
    while _penalised_loss(columns, is_hit, weights + step) > before and np.abs(step).max() > _SMALLEST_STEP:
        step *= 0.5
    return step


def _penalised_loss(columns: Float64Array, is_hit: BoolArray, weights: Float64Array) -> float:
    log_odds = columns @ weights
    loss = np.logaddexp(0, np.where(is_hit, -log_odds, log_odds)).sum()
    return float(loss + 0.5 * _RIDGE * np.square(weights[1:] - _USUAL_WEIGHT).sum())


@dataclass(frozen=True)
class Reliability:
    """Groups of equal size of pairs with similar probabilities: mean probability, share of hits, size, each (b,)."""

    predicted: Float64Array
    observed: Float64Array
    counts: Int64Array

    @property
    def error(self) -> float:
        """Return the expected calibration error, the mean distance of both, weighted by size.

        M. P. Naeini et al., Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015. Groups of equal
        size are those of K. Nguyen and B. O'Connor, Posterior calibration and exploratory analysis, EMNLP 2015.
        """
        return float(np.average(np.abs(self.predicted - self.observed), weights=self.counts))


def measure_reliability(probabilities: Float64Array, is_hit: BoolArray, n_bins: int = BINS) -> Reliability:
    """Group pairs by their probability: (m,), (m,)."""
    order = np.argsort(probabilities, kind="stable")
    groups = [group for group in np.array_split(order, n_bins) if len(group)]
    return Reliability(
        np.array([probabilities[group].mean() for group in groups]),
        np.array([is_hit[group].mean() for group in groups]),
        np.array([len(group) for group in groups]),
    )


def cross_fitted_error(pairs: CandidatePairs, k: int = SHOWN) -> float | None:
    """Return the calibration error of the first k candidates, each by a curve that was fitted on other users.

    The users are split at random into two halves. None if a half has too few held-out items for a curve.
    """
    is_first = np.zeros(len(pairs.n_items), bool)
    is_first[np.random.default_rng(0).permutation(len(is_first))[: len(is_first) // 2]] = True
    judged = []
    for half in (is_first, ~is_first):
        curve = fit_curve(pairs.select(half))
        if curve is None:
            return None
        judged.append(pairs.select(~half).first(k).judge(curve))
    probabilities, is_hit = (np.concatenate(parts) for parts in zip(*judged, strict=True))
    return measure_reliability(probabilities, is_hit).error
