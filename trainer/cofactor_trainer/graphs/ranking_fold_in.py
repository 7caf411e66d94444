"""Fold a new user into the ranking of a version.

The rated items count as draws from a softmax over the catalogue, the more the higher their rating. The row maximises
the posterior under a Gaussian prior over rows. Three Newton steps find it. The first starts at the average user, the
others where the one before ended: without them, a user who likes one thing only would still be ranked by the average
user's softmax.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cofactor_trainer.data.dataset import Float32Array, Int64Array
from cofactor_trainer.data.events.feedback import EventFeedback
from cofactor_trainer.data.profile_regression import COLUMN_RANGE, Float64Array
from cofactor_trainer.graphs.fold_in import EmbedRatingUser, Prior
from cofactor_trainer.graphs.scorer import Scorer, gather_rows
from cofactor_trainer.graphs.user_prior import UserPrior, UserPriors
from cofactor_trainer.scoring.ranking_part import ranking_factors
from cofactor_trainer.scoring.trained_model import TrainedModel

# Weights of the lowest and the highest rating of the scale.
LOWEST_WEIGHT, HIGHEST_WEIGHT = 0.15, 1.95
# All steps have the curvature of the average user. Full steps after the first would overshoot for unusual users.
STEP_LENGTHS = (1.0, 0.7, 0.7)
# The softmax runs over this many of the average user's best items: the others have no visible share of it.
SOFTMAX_ITEMS = 16_384
# Items whose covariance is summed at a time.
_ITEMS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class RankingSpace:
    """The ranking of a model around the average user, in coordinates x with row = mean + root · x.

    The prior of x is a standard Gaussian. The coordinates are the eigenvectors of the covariance of the average user's
    softmax, which all users share as the curvature of their log-likelihood. The system of a Newton step is therefore
    diagonal.

    Attributes:
        mean: (r,), mean of the prior.
        root: (r, r).
        curvature: (r,), eigenvalues of the covariance.
        rows: (m,), rows of the items that the softmax runs over.
        items: (m, r), their factors in the coordinates.
        logits: (m,), their logits for the average user.
    """

    mean: Float64Array
    root: Float64Array
    curvature: Float64Array
    rows: Int64Array
    items: Float64Array
    logits: Float64Array

    @classmethod
    def of(cls, factors: Float32Array, bias: Float32Array, prior: UserPrior) -> RankingSpace:
        """Find the coordinates: factors (n_items, r) and bias (n_items,) of the known items."""
        logits = factors @ prior.mean + bias
        covariance = _softmax_covariance(factors, logits)
        curvature, axes = np.linalg.eigh(prior.root.T @ covariance @ prior.root)
        root = prior.root @ axes
        rows = np.sort(np.argsort(-logits, kind="stable")[:SOFTMAX_ITEMS])
        return cls(prior.mean, root, curvature.clip(min=0), rows, factors[rows] @ root, logits[rows])


class RankingFoldIn(Prior):
    """Computes the ranking factors of new users.

    Args:
        item_factors: table that holds the ranking factors of the items, (n_items + 1, q), the unknown item last.
        columns: columns of the ranking factors.
        space: ranking around the average user.
        prior: prior over the ranking factors.
        rating_scale: lowest and highest rating.
    """

    item_factors: Tensor
    curvature: Tensor
    softmax_items: Tensor
    softmax_logits: Tensor
    profile_shift: Tensor

    def __init__(
        self,
        item_factors: Tensor,
        columns: slice,
        space: RankingSpace,
        prior: UserPrior,
        rating_scale: tuple[float, float],
    ) -> None:
        super().__init__(prior)
        self.columns, self.rating_scale = columns, rating_scale
        self.n_items = len(item_factors) - 1
        self.register_buffer("item_factors", item_factors)
        self.prior_root = torch.from_numpy(space.root).float()
        for name, array in (
            ("curvature", space.curvature),
            ("softmax_items", space.items),
            ("softmax_logits", space.logits),
        ):
            self.register_buffer(name, torch.from_numpy(array).float())
        if prior.profile is not None:
            # The shift of the mean by the profile, in the coordinates of the space.
            shift = np.linalg.solve(space.root, prior.profile.weight.T).T
            self.register_buffer("profile_shift", torch.from_numpy(shift).float())

    def forward(self, item_rows: Tensor, ratings: Tensor, profile: Tensor | None = None) -> Tensor:
        """Return the ranking factors.

        item_rows (B, N) padded with n_items, ratings (B, N), profile (B, P) -> (B, r).
        """
        weights = self.weights(ratings) * (item_rows != self.n_items)
        factors = gather_rows(self.item_factors, item_rows)[:, :, self.columns]
        pull = (factors * weights[:, :, None]).sum(1) @ self.prior_root
        total = weights.sum(1, keepdim=True)
        start = torch.zeros_like(pull)
        if profile is not None:
            start = profile.clamp(*COLUMN_RANGE) @ self.profile_shift
        step = torch.zeros_like(pull)
        for length in STEP_LENGTHS:
            step = step + length * self._newton_step(step, start, pull, total)
        return functional.linear(start + step, self.prior_root, self.prior_mean)

    def weights(self, ratings: Tensor) -> Tensor:
        """Return how many draws from the softmax each rating counts as, of any shape."""
        low, high = self.rating_scale
        shares = ((ratings - low) / (high - low)).clamp(0, 1)
        return shares * (HIGHEST_WEIGHT - LOWEST_WEIGHT) + LOWEST_WEIGHT

    def _newton_step(self, position: Tensor, start: Tensor, pull: Tensor, total: Tensor) -> Tensor:
        """Return the step from a position, relative to the start, which is the mean of the prior given the profile.

        position, start and pull (B, r), total (B, 1) -> (B, r).
        """
        shares = torch.softmax(functional.linear(start + position, self.softmax_items, self.softmax_logits), 1)
        gradient = pull - total * (shares @ self.softmax_items) - position
        return gradient / (total * self.curvature + 1)


class EventFoldIn(RankingFoldIn):
    """Computes the ranking factors of new users from the weights of events, in the place of ratings.

    Args:
        scale: an item counts as this many draws per unit of weight.
    """

    def __init__(
        self, item_factors: Tensor, columns: slice, space: RankingSpace, prior: UserPrior, scale: float
    ) -> None:
        super().__init__(item_factors, columns, space, prior, (0.0, 0.0))
        self.scale = scale

    def weights(self, ratings: Tensor) -> Tensor:
        """Return how many draws from the softmax each weight counts as, of any shape."""
        return ratings.clamp(min=0) * self.scale


class EmbedRankingUser(nn.Module):
    """Graph embed_user of a ranking model, which has no bias of the user."""

    def __init__(self, scorer: Scorer, fold_in: RankingFoldIn) -> None:
        super().__init__()
        self.scorer, self.fold_in = scorer, fold_in
        self.n_profile_columns = fold_in.n_profile_columns

    def forward(
        self, item_rows: Tensor, ratings: Tensor, profile: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute graph embed_user; docs/model-format.md has the shapes."""
        scorer = self.scorer
        user = self.fold_in(item_rows, ratings, profile)
        factors = gather_rows(scorer.item_factors, item_rows)
        logits = (factors @ user[:, :, None])[:, :, 0] + gather_rows(scorer.item_bias, item_rows)
        return user, torch.zeros_like(user[:, 0]), scorer.ratings(logits + scorer.global_bias)


class EmbedUserInBothParts(nn.Module):
    """Graph embed_user of a model of ratings with a ranking part: each part has its own prior and its own step."""

    def __init__(self, rating: EmbedRatingUser, ranking: RankingFoldIn) -> None:
        super().__init__()
        self.rating, self.ranking = rating, ranking
        self.n_profile_columns = rating.n_profile_columns

    def forward(
        self, item_rows: Tensor, ratings: Tensor, profile: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute graph embed_user; docs/model-format.md has the shapes."""
        factors, bias, fitted = self.rating(item_rows, ratings, profile)
        ranking = self.ranking(item_rows, ratings, profile)
        return torch.cat([factors, ranking, torch.ones_like(bias)[:, None]], 1), bias, fitted


class EmbedUserOfRatingsAndEvents(nn.Module):
    """Graph embed_user of a model that learnt ratings, and an order from events: each part has its own input."""

    def __init__(self, rating: EmbedRatingUser, ranking: EventFoldIn) -> None:
        super().__init__()
        self.rating, self.ranking = rating, ranking
        self.n_profile_columns = rating.n_profile_columns

    def forward(
        self,
        item_rows: Tensor,
        ratings: Tensor,
        event_rows: Tensor,
        event_weights: Tensor,
        profile: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute graph embed_user; docs/model-format.md has the shapes."""
        factors, bias, fitted = self.rating(item_rows, ratings, profile)
        ranking = self.ranking(event_rows, event_weights, profile)
        return torch.cat([factors, ranking, torch.ones_like(bias)[:, None]], 1), bias, fitted


FoldIn = EmbedRatingUser | EmbedRankingUser | EmbedUserInBothParts | EmbedUserOfRatingsAndEvents


def build_fold_in(
    model: TrainedModel,
    scorer: Scorer,
    priors: UserPriors,
    rating_scale: tuple[float, float],
    events: EventFeedback | None = None,
) -> FoldIn:
    """Build graph embed_user of a model; ``events`` says what it learnt from, None for ratings."""
    if priors.ranking is None:
        return EmbedRatingUser(scorer, priors.main)
    factors, bias = ranking_factors(model)
    space = RankingSpace.of(factors[:-1], bias[:-1], priors.ranking)
    first = model.n_item_columns if model.n_ranking_factors else 0
    columns = slice(first, first + factors.shape[1])
    if events is not None:
        fold_in = EventFoldIn(scorer.item_factors, columns, space, priors.ranking, events.fold_in_scale)
        if model.objective == "ranking":
            return EmbedRankingUser(scorer, fold_in)
        return EmbedUserOfRatingsAndEvents(EmbedRatingUser(scorer, priors.main), fold_in)
    ranking = RankingFoldIn(scorer.item_factors, columns, space, priors.ranking, rating_scale)
    if model.objective == "ranking":
        return EmbedRankingUser(scorer, ranking)
    return EmbedUserInBothParts(EmbedRatingUser(scorer, priors.main), ranking)


def _softmax_covariance(factors: Float32Array, logits: Float64Array) -> Float64Array:
    """Compute the covariance of the items' factors under a softmax: (n, r), (n,) -> (r, r)."""
    weights = np.exp(logits - logits.max())
    weights /= weights.sum()
    mean = weights @ factors
    moment = np.zeros((len(mean), len(mean)))
    for start in range(0, len(factors), _ITEMS_AT_ONCE):
        block = slice(start, start + _ITEMS_AT_ONCE)
        part = factors[block].astype(np.float64)
        moment += (part * weights[block, None]).T @ part
    covariance: Float64Array = moment - np.outer(mean, mean)
    return covariance
