"""Fold in a new user: compute the user's row from ratings, without training.

For a rating model the row maximises the posterior under a Gaussian prior over user rows and Gaussian rating errors. It
is found by Gauss-Newton steps through the sigmoid. Each step solves its normal equations by conjugate gradients
(M. Hestenes and E. Stiefel, 1952), preconditioned by the prior: with row = mean + L w the prior of the whitened row w
is a standard Gaussian, and n ratings need at most n + 1 iterations. ONNX has no solver, so both loops are unrolled.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cofactor_trainer.data.profile_regression import COLUMN_RANGE
from cofactor_trainer.graphs.scorer import Scorer, gather_rows
from cofactor_trainer.graphs.user_prior import UserPrior

# Squared residuals below this count as 0, and 0 / 0 must give 0.
TINY = 1e-30
# Lengths of the Gauss-Newton steps. Full steps converge on a dot product. On a network they oscillate between its
# kinks, and shorter and shorter steps end nearer to the maximum.
DOT_STEPS = (1.0, 1.0, 1.0, 1.0)
NETWORK_STEPS = (1.0, 0.7, 0.5, 0.35)
# Items linearised at a time.
CATALOGUE_BATCH = 1 << 16


def conjugate_gradients(matrix: Tensor, target: Tensor, iterations: int) -> Tensor:
    """Solve matrix (B, D, D) · x = target (B, D, 1) for positive definite matrices, starting from 0 -> x (B, D, 1)."""
    solution = torch.zeros_like(target)
    residual = direction = target
    squared = (residual * residual).sum(1, keepdim=True)
    for _ in range(iterations):
        image = matrix @ direction
        step = squared / (direction * image).sum(1, keepdim=True).clamp(min=TINY)
        solution = solution + step * direction
        residual = residual - step * image
        previous, squared = squared, (residual * residual).sum(1, keepdim=True)
        direction = residual + squared / previous.clamp(min=TINY) * direction
    return solution


class Prior(nn.Module):
    """A Gaussian prior over rows of D numbers, as buffers of a graph."""

    prior_mean: Tensor
    prior_root: Tensor
    profile_weight: Tensor

    def __init__(self, prior: UserPrior) -> None:
        super().__init__()
        self.register_buffer("prior_mean", torch.from_numpy(prior.mean).float())
        self.register_buffer("prior_root", torch.from_numpy(prior.root).float())
        self.n_profile_columns = 0 if prior.profile is None else len(prior.profile.weight)
        if prior.profile is not None:
            self.register_buffer("profile_weight", torch.from_numpy(prior.profile.weight).float())

    def mean_given(self, profile: Tensor | None) -> Tensor:
        """Return the prior mean given sign-up answers: (B, P) -> (B, D); without answers (D,) for all users."""
        if profile is None:
            return self.prior_mean
        return profile.clamp(*COLUMN_RANGE) @ self.profile_weight + self.prior_mean

    def unwhiten(self, whitened: Tensor, mean: Tensor) -> Tensor:
        """Convert whitened rows to rows: (B, D) -> (B, D)."""
        return functional.linear(whitened, self.prior_root) + mean


class EmbedRatingUser(Prior):
    """Graph embed_user of a model of ratings; a row is the user's factors followed by the bias.

    steps has the length of every Gauss-Newton step; iterations is the number of conjugate gradients in each.
    """

    identity: Tensor

    def __init__(
        self, scorer: Scorer, prior: UserPrior, steps: tuple[float, ...] | None = None, iterations: int = 6
    ) -> None:
        super().__init__(prior)
        self.register_buffer("identity", torch.eye(len(self.prior_mean)))
        self.scorer = scorer
        self.steps = steps or (DOT_STEPS if scorer.network is None else NETWORK_STEPS)
        self.iterations = iterations

    def logits_and_jacobian(self, user: Tensor, item_rows: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the logits and their derivatives with respect to the user row.

        user (B, d + 1), item_rows (B, N) -> (B, N), (B, N, d + 1).
        """
        scorer = self.scorer
        logits = gather_rows(scorer.item_bias, item_rows) + user[:, -1:] + scorer.global_bias
        parts = [torch.ones_like(logits)[:, :, None]]
        if scorer.network is not None:
            hidden = scorer.network.user_hidden(user[:, scorer.n_dot : -1])[:, None]
            network, derivative = scorer.network.linearise(hidden + gather_rows(scorer.item_hidden, item_rows))
            logits = logits + network
            parts.insert(0, derivative @ scorer.network.get_buffer("user_weight"))
        if scorer.n_dot:
            factors = gather_rows(scorer.item_factors, item_rows)[:, :, : scorer.n_dot]
            logits = logits + (factors @ user[:, : scorer.n_dot, None])[:, :, 0]
            parts.insert(0, factors)
        return logits, torch.cat(parts, 2)

    def forward(
        self, item_rows: Tensor, ratings: Tensor, profile: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Compute graph embed_user; docs/model-format.md has the shapes."""
        given = (item_rows != self.scorer.n_items).float()
        whitened = torch.zeros_like(ratings[:, :1]) * self.prior_mean
        mean = self.mean_given(profile)
        for length in self.steps:
            fitted, basis = self.linearise(self.unwhiten(whitened, mean), item_rows, given)
            transposed = basis.transpose(1, 2)
            gradient = transposed @ ((ratings - fitted) * given)[:, :, None] - whitened[:, :, None]
            change = conjugate_gradients(transposed @ basis + self.identity, gradient, self.iterations)
            whitened = whitened + (change[:, :, 0] if length == 1 else length * change[:, :, 0])
        user = self.unwhiten(whitened, mean)
        logits, _ = self.logits_and_jacobian(user, item_rows)
        return user[:, :-1], user[:, -1], self.scorer.ratings(logits)

    def linearise(self, user: Tensor, item_rows: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the ratings and their derivatives with respect to the whitened row.

        user (B, d + 1), item_rows (B, N), given (B, N) 1 for a rating and 0 for padding -> (B, N), (B, N, d + 1). The
        derivatives of padding are 0.
        """
        logits, jacobian = self.logits_and_jacobian(user, item_rows)
        fitted = self.scorer.ratings(logits)
        return fitted, (jacobian @ self.prior_root) * (self._slope(fitted) * given)[:, :, None]

    def _slope(self, ratings: Tensor) -> Tensor:
        """Return the derivative of the rating with respect to the logit."""
        if self.scorer.rating_range is None:
            return torch.ones_like(ratings)
        low, high = self.scorer.rating_range
        return (ratings - low) * (high - ratings) / (high - low)
