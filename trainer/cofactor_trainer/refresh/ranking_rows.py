"""Move the rows of a ranking by what its ratings have gained and lost.

A rated item counts as draws from the user's softmax over the catalogue, as in training. The steps are those of
`rating_rows`, for the multinomial likelihood: one Newton step from the gradient of the changes. The items of the
softmax are fitted one by one, each against all others, whose part in the users' normalisers is fixed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cofactor_trainer.data.dataset import Float64Array, Int64Array
from cofactor_trainer.graphs.ranking_fold_in import RankingSpace
from cofactor_trainer.refresh.pair_table import PairTable

# More users do not visibly change the curvature of an item.
MAX_USERS = 5_000
_STEPS_OF_A_NEW_ITEM = 12
_HALVINGS = 10
_USERS_AT_ONCE = 256
# Scores in memory at a time.
_SCORES_AT_ONCE = 1 << 24


def move_ranking_users(
    rows: Float64Array,
    moved: Int64Array,
    items: Float64Array,
    space: RankingSpace,
    changes: PairTable,
    totals: Float64Array,
) -> None:
    """Move some users by one step, in place.

    Args:
        rows: (n_users + 1, r) ranking factors of the users.
        moved: (m,) row numbers.
        items: (n_items + 1, r) ranking factors of the items.
        space: ranking around the average user.
        changes: by how much the weight of an item changed, by user.
        totals: (n_users + 1,) sum of the weights of every user.
    """
    to_space = np.linalg.inv(space.root)
    items_in_space = items @ space.root
    for start in range(0, len(moved), _USERS_AT_ONCE):
        users = moved[start : start + _USERS_AT_ONCE]
        positions = (rows[users] - space.mean) @ to_space.T
        shares = positions @ space.items.T + space.logits
        np.exp(shares - shares.max(1, keepdims=True), out=shares)
        shares /= shares.sum(1, keepdims=True)
        expected = shares @ space.items
        gradient = np.empty_like(positions)
        for line, user in enumerate(users):
            item_rows, weights = changes.of(user)
            gradient[line] = weights @ items_in_space[item_rows] - weights.sum() * expected[line]
        positions += gradient / (totals[users, None] * space.curvature + 1)
        rows[users] = positions @ space.root.T + space.mean


@dataclass(frozen=True)
class RankingItems:
    """Hold the arrays that move the items of a ranking; an item's row is its factors followed by its bias.

    Attributes:
        users: (n_users, r + 1) rows of all users, each with a 1 for the bias.
        sample: (s,) rows of the users whose softmax counts.
        sample_totals: (s,) sum of the weights of these users, scaled up to all users.
        normalisers: (s,) logarithm of the sum of their exponentiated scores.
        mean: (r + 1,) of the prior over items.
        precision: (r + 1, r + 1) of the prior.
    """

    users: Float64Array
    sample: Int64Array
    sample_totals: Float64Array
    normalisers: Float64Array
    mean: Float64Array
    precision: Float64Array

    @classmethod
    def of(
        cls,
        users: Float64Array,
        items: Float64Array,
        totals: Float64Array,
        mean: Float64Array,
        precision: Float64Array,
    ) -> RankingItems:
        """Compute the normalisers: users (n_users, r), items (n_items, r + 1) that count, totals (n_users,)."""
        users = np.column_stack([users, np.ones(len(users))])
        sample = np.sort(np.random.default_rng(0).permutation(len(users))[:MAX_USERS])
        normalisers = np.empty(len(sample))
        block = max(1, _SCORES_AT_ONCE // len(items))
        for start in range(0, len(sample), block):
            scores = users[sample[start : start + block]] @ items.T
            highest = scores.max(1)
            normalisers[start : start + block] = highest + np.log(np.exp(scores - highest[:, None]).sum(1))
        scale = len(users) / len(sample)
        return cls(users, sample, totals[sample] * scale, normalisers, mean, precision)

    def move(self, rows: Float64Array, moved: Int64Array, changes: PairTable) -> None:
        """Move some items by one step, in place: rows (n_items + 1, r + 1), moved (m,), changes by item."""
        for row in moved:
            user_rows, weights = changes.of(row)
            # These items have a part in the normalisers.
            shares = np.exp(np.minimum(self._scores(rows[row]), 0))
            rows[row] += np.linalg.solve(self._curvature(shares), weights @ self.users[user_rows])

    def fit(self, rows: Float64Array, fitted: Int64Array, weights_by_item: PairTable) -> None:
        """Fit new items to their weights, in place: rows (n_items + 1, r + 1), fitted (m,)."""
        for row in fitted:
            user_rows, weights = weights_by_item.of(row)
            rows[row] = self._mode(weights @ self.users[user_rows])

    def _mode(self, pull: Float64Array) -> Float64Array:
        """Return the mode of the posterior of a new item: pull (r + 1,) is the weighted sum of its users' rows.

        Newton steps, each of them halved until the posterior rises.
        """
        values = self.mean.copy()
        density = self._log_density(values, pull)
        for _ in range(_STEPS_OF_A_NEW_ITEM):
            shares = expit(self._scores(values))
            gradient = pull - (self.sample_totals * shares) @ self.users[self.sample]
            gradient -= self.precision @ (values - self.mean)
            step = np.linalg.solve(self._curvature(shares), gradient)
            for _ in range(_HALVINGS):
                higher = self._log_density(values + step, pull)
                if higher >= density:
                    values, density = values + step, higher
                    break
                step /= 2
        return values

    def _log_density(self, row: Float64Array, pull: Float64Array) -> float:
        """Return the logarithm of the posterior of a new item, up to a constant."""
        distance = row - self.mean
        likelihood = pull @ row - self.sample_totals @ np.logaddexp(0, self._scores(row))
        return float(likelihood - distance @ self.precision @ distance / 2)

    def _scores(self, row: Float64Array) -> Float64Array:
        """Return the logits of an item against all others, for the users of the sample, (s,)."""
        scores: Float64Array = self.users[self.sample] @ row - self.normalisers
        return scores

    def _curvature(self, shares: Float64Array) -> Float64Array:
        users = self.users[self.sample]
        variances = self.sample_totals * shares * (1 - shares)
        curvature: Float64Array = (users * variances[:, None]).T @ users + self.precision
        return curvature


def expit(logits: Float64Array) -> Float64Array:
    """Return 1 / (1 + exp(-x)), without overflow."""
    shares: Float64Array = 0.5 + 0.5 * np.tanh(logits / 2)
    return shares
