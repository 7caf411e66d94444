"""A new user's row from ratings, without training.

The row maximises the posterior of a Gaussian prior over user rows and normal errors of the ratings, found by
Gauss-Newton steps through the sigmoid. Each step solves its normal equations by conjugate gradients (Hestenes
and Stiefel 1952), preconditioned by the prior: with row = mean + L w the prior of w is a standard normal, and
n ratings need at most n + 1 iterations. ONNX has no solver, so both loops are unrolled.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cofactor_trainer.graphs import Scorer, take
from cofactor_trainer.prior import UserPrior
from cofactor_trainer.profile_model import COLUMN_RANGE

# Below this a squared residual is taken for 0, where 0 / 0 must give 0.
TINY = 1e-30


def conjugate_gradients(matrix: Tensor, target: Tensor, iterations: int) -> Tensor:
    """Solve matrix (B, D, D) · x = target (B, D, 1), positive definite, starting from 0."""
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


class EmbedUser(nn.Module):
    """Folds new users in.

    Four steps of eight iterations agree with the exact maximum to 0.0003 of a rating (benchmarks/fold_in.py).
    """

    prior_mean: Tensor
    prior_root: Tensor
    profile_weight: Tensor

    def __init__(self, scorer: Scorer, prior: UserPrior, steps: int = 4, iterations: int = 8) -> None:
        super().__init__()
        self.scorer = scorer
        self.steps = steps
        self.iterations = iterations
        self.register_buffer("prior_mean", torch.from_numpy(prior.mean).float())
        self.register_buffer("prior_root", torch.from_numpy(prior.root).float())
        self.n_profile_columns = 0 if prior.profile is None else len(prior.profile.weight)
        if prior.profile is not None:
            self.register_buffer("profile_weight", torch.from_numpy(prior.profile.weight).float())

    def forward(
        self, item_rows: Tensor, ratings: Tensor, profile: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See docs/model-format.md, graph embed_user."""
        given = (item_rows != self.scorer.n_items).float()
        identity = torch.eye(len(self.prior_mean))
        whitened = torch.zeros_like(ratings[:, :1]) * self.prior_mean
        mean = self.mean(profile)
        for _ in range(self.steps):
            fitted, basis = self.linearise(self.row(whitened, mean), item_rows, given)
            transposed = basis.transpose(1, 2)
            gradient = transposed @ ((ratings - fitted) * given)[:, :, None] - whitened[:, :, None]
            change = conjugate_gradients(transposed @ basis + identity, gradient, self.iterations)
            whitened = whitened + change[:, :, 0]
        user = self.row(whitened, mean)
        logits, _ = self._logits(user, item_rows)
        return user[:, :-1], user[:, -1], self.scorer.ratings(logits)

    def mean(self, profile: Tensor | None) -> Tensor:
        """The prior's mean for these answers: (B, P) -> (B, d + 1); without, the same for all, (d + 1,)."""
        if profile is None:
            return self.prior_mean
        return profile.clamp(*COLUMN_RANGE) @ self.profile_weight + self.prior_mean

    def row(self, whitened: Tensor, mean: Tensor) -> Tensor:
        """User rows, the bias last, of whitened ones: (B, d + 1) -> (B, d + 1)."""
        return whitened @ self.prior_root.t() + mean

    def linearise(self, user: Tensor, item_rows: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """Ratings (B, N) of users (B, d + 1) and their derivatives with respect to the whitened row (B, N, d + 1).

        The derivatives are 0 where given (B, N) is.
        """
        logits, jacobian = self._logits(user, item_rows)
        fitted = self.scorer.ratings(logits)
        return fitted, (jacobian @ self.prior_root) * (self._slope(fitted) * given)[:, :, None]

    def _slope(self, ratings: Tensor) -> Tensor:
        """Derivative of the rating with respect to the logit."""
        if self.scorer.rating_range is None:
            return torch.ones_like(ratings)
        low, high = self.scorer.rating_range
        return (ratings - low) * (high - ratings) / (high - low)

    def _logits(self, user: Tensor, item_rows: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, N) of users (B, d + 1) and their derivatives (B, N, d + 1)."""
        scorer = self.scorer
        logits = take(scorer.item_bias, item_rows) + user[:, -1:] + scorer.global_bias
        parts = [torch.ones_like(logits)[:, :, None]]
        if scorer.network is not None:
            hidden = scorer.network.user_hidden(user[:, scorer.n_dot : -1])
            network, jacobian = scorer.network.linearise(hidden[:, None] + take(scorer.item_hidden, item_rows))
            logits = logits + network
            parts.insert(0, jacobian)
        if scorer.n_dot:
            factors = take(scorer.item_factors, item_rows)[:, :, : scorer.n_dot]
            logits = logits + (factors @ user[:, : scorer.n_dot, None])[:, :, 0]
            parts.insert(0, factors)
        return logits, torch.cat(parts, 2)
