"""A new user's row from ratings, without training.

The row maximises the posterior of a Gaussian prior over user rows and, for a rating model, normal errors of the
ratings, found by Gauss-Newton steps through the sigmoid. Each step solves its normal equations by conjugate
gradients (Hestenes and Stiefel 1952), preconditioned by the prior: with row = mean + L w the prior of w is a
standard normal, and n ratings need at most n + 1 iterations. ONNX has no solver, so both loops are unrolled.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cofactor_trainer.data.profile_regression import COLUMN_RANGE
from cofactor_trainer.graphs.modules import Scorer, take
from cofactor_trainer.graphs.user_prior import UserPrior

# Below this a squared residual is taken for 0, where 0 / 0 must give 0.
TINY = 1e-30
# Full Gauss-Newton steps converge on a dot product. Between the kinks of a network they go to and fro, and ever
# shorter ones end nearer to the maximum.
DOT_STEPS = (1.0, 1.0, 1.0, 1.0)
NETWORK_STEPS = (1.0, 0.7, 0.5, 0.35)
# Items linearised at a time.
CATALOGUE_BATCH = 1 << 16


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


class FoldIn(nn.Module):
    """What folding in takes, whatever the objective: the scorer, the prior and the model's linearisation."""

    prior_mean: Tensor
    prior_root: Tensor
    profile_weight: Tensor

    def __init__(self, scorer: Scorer, prior: UserPrior) -> None:
        super().__init__()
        self.scorer = scorer
        self.register_buffer("prior_mean", torch.from_numpy(prior.mean).float())
        self.register_buffer("prior_root", torch.from_numpy(prior.root).float())
        self.n_profile_columns = 0 if prior.profile is None else len(prior.profile.weight)
        if prior.profile is not None:
            self.register_buffer("profile_weight", torch.from_numpy(prior.profile.weight).float())

    def mean(self, profile: Tensor | None) -> Tensor:
        """The prior's mean for these answers: (B, P) -> (B, d + 1); without, the same for all, (d + 1,)."""
        if profile is None:
            return self.prior_mean
        return profile.clamp(*COLUMN_RANGE) @ self.profile_weight + self.prior_mean

    def row(self, whitened: Tensor, mean: Tensor) -> Tensor:
        """User rows, the bias last, of whitened ones: (B, d + 1) -> (B, d + 1)."""
        return whitened @ self.prior_root.t() + mean

    def logits(self, user: Tensor, item_rows: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, N) of users (B, d + 1) and their derivatives (B, N, d + 1)."""
        scorer = self.scorer
        logits = take(scorer.item_bias, item_rows) + user[:, -1:] + scorer.global_bias
        parts = [torch.ones_like(logits)[:, :, None]]
        if scorer.network is not None:
            hidden = scorer.network.user_hidden(user[:, scorer.n_dot : -1])
            network, derivative = scorer.network.linearise(hidden[:, None] + take(scorer.item_hidden, item_rows))
            logits = logits + network
            parts.insert(0, derivative @ scorer.network.get_buffer("user_weight"))
        if scorer.n_dot:
            factors = take(scorer.item_factors, item_rows)[:, :, : scorer.n_dot]
            logits = logits + (factors @ user[:, : scorer.n_dot, None])[:, :, 0]
            parts.insert(0, factors)
        return logits, torch.cat(parts, 2)


class EmbedUser(FoldIn):
    """Folds a new user of a rating model in.

    steps has the length of every Gauss-Newton step, iterations the number of conjugate gradients in each.
    """

    def __init__(
        self, scorer: Scorer, prior: UserPrior, steps: tuple[float, ...] | None = None, iterations: int = 6
    ) -> None:
        super().__init__(scorer, prior)
        self.steps = steps or (DOT_STEPS if scorer.network is None else NETWORK_STEPS)
        self.iterations = iterations

    def forward(
        self, item_rows: Tensor, ratings: Tensor, profile: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See docs/model-format.md, graph embed_user."""
        given = (item_rows != self.scorer.n_items).float()
        identity = torch.eye(len(self.prior_mean))
        whitened = torch.zeros_like(ratings[:, :1]) * self.prior_mean
        mean = self.mean(profile)
        for length in self.steps:
            fitted, basis = self.linearise(self.row(whitened, mean), item_rows, given)
            transposed = basis.transpose(1, 2)
            gradient = transposed @ ((ratings - fitted) * given)[:, :, None] - whitened[:, :, None]
            change = conjugate_gradients(transposed @ basis + identity, gradient, self.iterations)
            whitened = whitened + (change[:, :, 0] if length == 1 else length * change[:, :, 0])
        user = self.row(whitened, mean)
        logits, _ = self.logits(user, item_rows)
        return user[:, :-1], user[:, -1], self.scorer.ratings(logits)

    def linearise(self, user: Tensor, item_rows: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """Ratings (B, N) of users (B, d + 1) and their derivatives with respect to the whitened row (B, N, d + 1).

        The derivatives are 0 where given (B, N) is.
        """
        logits, jacobian = self.logits(user, item_rows)
        fitted = self.scorer.ratings(logits)
        return fitted, (jacobian @ self.prior_root) * (self._slope(fitted) * given)[:, :, None]

    def _slope(self, ratings: Tensor) -> Tensor:
        """Derivative of the rating with respect to the logit."""
        if self.scorer.rating_range is None:
            return torch.ones_like(ratings)
        low, high = self.scorer.rating_range
        return (ratings - low) * (high - ratings) / (high - low)


class EmbedRankingUser(FoldIn):
    """Folds a new user of a ranking model in.

    What the user rated are draws from a softmax over the catalogue, whatever the rating. The log-likelihood is
    expanded to second order at the average user, where the softmax's mean and covariance are constants: one
    Newton step, which never looks at the catalogue.
    """

    centre: Tensor
    curvature: Tensor

    def __init__(self, scorer: Scorer, prior: UserPrior, iterations: int = 16) -> None:
        super().__init__(scorer, prior)
        self.iterations = iterations
        centre, covariance = self._softmax_moments()
        self.register_buffer("centre", centre)
        self.register_buffer("curvature", self.prior_root.t() @ covariance @ self.prior_root)

    def forward(
        self, item_rows: Tensor, ratings: Tensor, profile: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See docs/model-format.md, graph embed_user."""
        given = (item_rows != self.scorer.n_items).float()[:, :, None]
        mean = self.mean(profile)
        average = torch.zeros_like(ratings[:, :1]) * self.prior_mean + self.prior_mean
        _, jacobian = self.logits(average, item_rows)
        gradient = ((jacobian - self.centre) * given).sum(1) @ self.prior_root
        matrix = given.sum(1, keepdim=True) * self.curvature + torch.eye(len(self.prior_mean))
        change = conjugate_gradients(matrix, gradient[:, :, None], self.iterations)
        user = self.row(change[:, :, 0], mean)
        logits, _ = self.logits(user, item_rows)
        return user[:, :-1], user[:, -1], self.scorer.ratings(logits)

    def _softmax_moments(self) -> tuple[Tensor, Tensor]:
        """Mean (d + 1,) and covariance (d + 1, d + 1) of the logits' derivatives under the average user's softmax."""
        with torch.inference_mode():
            user = self.prior_mean[None]
            batches = torch.tensor_split(
                torch.arange(self.scorer.n_items)[None], -(-self.scorer.n_items // CATALOGUE_BATCH), 1
            )
            weights = torch.cat([self.logits(user, batch)[0] for batch in batches], 1).double().softmax(1)[0]
            mean = torch.zeros(user.shape[1], dtype=torch.float64)
            moment = torch.zeros(user.shape[1], user.shape[1], dtype=torch.float64)
            for batch in batches:
                jacobian, weight = self.logits(user, batch)[1][0].double(), weights[batch[0]][:, None]
                mean += (weight * jacobian).sum(0)
                moment += (weight * jacobian).t() @ jacobian
        return mean.float().clone(), (moment - mean[:, None] * mean).float().clone()
