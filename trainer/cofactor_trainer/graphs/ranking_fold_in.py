"""Fold a new user into the ranking of a version.

The rated items count as draws from a softmax over the catalogue, the more the higher their rating. The log-likelihood
is expanded to second order at the average user, where the mean and covariance of the softmax are constants. The row is
therefore one Newton step, which does not read the catalogue.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from cofactor_trainer.data.dataset import Float32Array
from cofactor_trainer.data.profile_regression import Float64Array
from cofactor_trainer.graphs.fold_in import EmbedRatingUser, Prior
from cofactor_trainer.graphs.scorer import Scorer, gather_rows
from cofactor_trainer.graphs.user_prior import UserPrior, UserPriors
from cofactor_trainer.scoring.trained_model import Objective

# Weights of the lowest and the highest rating of the scale.
LOWEST_WEIGHT, HIGHEST_WEIGHT = 0.15, 1.95
# Items whose softmax is summed at a time.
CATALOGUE_BATCH = 1 << 16


class RankingFoldIn(Prior):
    """Computes the ranking factors of new users.

    With weights w the step solves (sum of w * C + I) x = sum of w * (item factors - mean), where mean and C are those
    of the average user's softmax in whitened space. All users share C, so its eigenvectors are folded into the root of
    the prior. In their basis the system is diagonal, and the solution is exact for every number of ratings.

    Args:
        item_factors: table that holds the ranking factors of the items, (n_items + 1, q), the unknown item last.
        columns: columns of the ranking factors.
        item_bias: (n_items + 1,), of the ranking.
        prior: prior over the ranking factors.
        rating_scale: lowest and highest rating.
    """

    item_factors: Tensor
    centre: Tensor
    curvature: Tensor

    def __init__(
        self,
        item_factors: Tensor,
        columns: slice,
        item_bias: Float32Array,
        prior: UserPrior,
        rating_scale: tuple[float, float],
    ) -> None:
        super().__init__(prior)
        self.columns, self.rating_scale = columns, rating_scale
        self.n_items = len(item_factors) - 1
        self.register_buffer("item_factors", item_factors)
        centre, covariance = _softmax_moments(item_factors[:-1, columns].numpy(), item_bias[:-1], prior.mean)
        curvature, axes = np.linalg.eigh(prior.root.T @ covariance @ prior.root)
        self.prior_root = torch.from_numpy(prior.root @ axes).float()
        self.register_buffer("centre", torch.from_numpy(centre).float())
        self.register_buffer("curvature", torch.from_numpy(curvature.clip(min=0)).float())

    def forward(self, item_rows: Tensor, ratings: Tensor, profile: Tensor | None = None) -> Tensor:
        """Return the ranking factors.

        item_rows (B, N) padded with n_items, ratings (B, N), profile (B, P) -> (B, r).
        """
        low, high = self.rating_scale
        shares = ((ratings - low) / (high - low)).clamp(0, 1)
        weights = (shares * (HIGHEST_WEIGHT - LOWEST_WEIGHT) + LOWEST_WEIGHT) * (item_rows != self.n_items)
        factors = gather_rows(self.item_factors, item_rows)[:, :, self.columns]
        gradient = ((factors - self.centre) * weights[:, :, None]).sum(1) @ self.prior_root
        whitened = gradient / (weights.sum(1, keepdim=True) * self.curvature + 1)
        return self.unwhiten(whitened, self.mean_given(profile))


class EmbedRankingUser(nn.Module):
    """Graph embed_user of a ranking model, which has no bias of the user."""

    def __init__(self, scorer: Scorer, prior: UserPrior, rating_scale: tuple[float, float]) -> None:
        super().__init__()
        self.scorer = scorer
        everything = slice(0, scorer.n_user_factors)
        self.fold_in = RankingFoldIn(
            scorer.item_factors, everything, scorer.item_bias.numpy(), prior.first(everything.stop), rating_scale
        )
        self.n_profile_columns = self.fold_in.n_profile_columns

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


FoldIn = EmbedRatingUser | EmbedRankingUser | EmbedUserInBothParts


def build_fold_in(
    scorer: Scorer, priors: UserPriors, rating_scale: tuple[float, float], objective: Objective
) -> FoldIn:
    """Build graph embed_user of a model."""
    if objective == "ranking":
        return EmbedRankingUser(scorer, priors.main, rating_scale)
    rating = EmbedRatingUser(scorer, priors.main)
    if priors.ranking is None:
        return rating
    width = scorer.item_factors.shape[1]
    columns = slice(width - scorer.n_ranking, width - 1)
    ranking = RankingFoldIn(
        scorer.item_factors, columns, scorer.item_factors[:, -1].numpy(), priors.ranking, rating_scale
    )
    return EmbedUserInBothParts(rating, ranking)


def _softmax_moments(
    factors: Float32Array, bias: Float32Array, user: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Compute the mean (r,) and the covariance (r, r) of the items' factors under the softmax of a user, (r,)."""
    logits = factors @ user + bias
    weights = np.exp(logits - logits.max())
    weights /= weights.sum()
    mean = weights @ factors
    moment = np.zeros((len(user), len(user)))
    for start in range(0, len(factors), CATALOGUE_BATCH):
        block = slice(start, start + CATALOGUE_BATCH)
        part = factors[block].astype(np.float64)
        moment += (part * weights[block, None]).T @ part
    return mean, moment - np.outer(mean, mean)
