"""Bayesian matrix factorisation with implicit feedback on both sides, by Gibbs sampling.

The model of `implicit` with normal errors and no sigmoid: a rating is normal around

    (p_u + w_u sum_j y_j) . (q_i + v_i sum_x z_x) + b_u + b_i + mean,    w_u, v_i = (number of ratings)^-1/2,

where the sums run over the other items that u rated and the other users who rated i. Every vector has a normal
prior whose mean is linear in the features of its user or item and whose precision is Wishart; every user and every
item has its own noise. Sources: R. Salakhutdinov and A. Mnih, Bayesian probabilistic matrix factorization using
Markov chain Monte Carlo, ICML 2008; S. Rendle, Factorization machines with libFM, 2012 (the flipped SVD++);
J. Simm et al., Macau, 2017 (features); B. Lakshminarayanan et al., Robust Bayesian matrix factorisation, 2011 (noise).
What predicts is the mean over the samples: it accounts for how unsure each vector is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cofactor_trainer.data.dataset import Float32Array, Int64Array, RatingsDataset, RowArray

Float64Array = npt.NDArray[np.float64]

# Precision of a rating's error before the users' and items' own factors, and how firmly those are held to 1.
# All four were tuned on ML-100k, split 7; docs/decisions/0003-recipes.md.
NOISE_PRECISION = 1.25
NOISE_STRENGTH = 40.0
OWN_SCALE = 0.1
IMPLICIT_SCALE = 0.05
FEATURE_PENALTY = 5.0
_INITIAL_OWN, _INITIAL_IMPLICIT = 0.1, 0.01


@dataclass
class Side:
    """One side's rows: how their ratings lie, and their vectors in the present sample.

    Attributes:
        rows: (n_ratings,) the row of this side of each rating.
        order: (n_ratings,) ratings sorted by row.
        starts: (n_rows + 1,) where each row's ratings begin in that order.
        scale: (n_rows,) number of ratings to the power of -1/2.
        features: (n_rows, n_features), the first column 1.
        own: (n_rows, k + 1), the bias last.
        implicit: (n_rows, k), what this side's rows add to those of the other side.
        noise: (n_rows,) factor of the noise precision.
    """

    rows: Int64Array
    order: Int64Array
    starts: Int64Array
    scale: Float32Array
    features: Float32Array
    own: Float32Array
    implicit: Float32Array
    noise: Float32Array

    @property
    def n_rows(self) -> int:
        """Rows of this side."""
        return len(self.scale)

    def ratings_of(self, row: int) -> Int64Array:
        """The ratings of a row."""
        return self.order[self.starts[row] : self.starts[row + 1]]

    def sums(self, values: Float32Array) -> Float32Array:
        """Sum of values (n_ratings, k) over each row's ratings, (n_rows, k)."""
        total: Float32Array = np.add.reduceat(
            np.concatenate([values[self.order], np.zeros_like(values[:1])]), self.starts[:-1], axis=0
        )
        total[np.diff(self.starts) == 0] = 0
        return total


class GibbsSampler:
    """Draws samples of a model of one data set; the same seed draws the same ones."""

    def __init__(
        self, train: RatingsDataset, user_features: Float32Array, item_features: Float32Array, k: int, seed: int
    ) -> None:
        self._random = np.random.default_rng(seed)
        self.mean = float(train.ratings.mean(dtype=np.float64))
        self._ratings = train.ratings - np.float32(self.mean)
        self._k = k
        self.users = self._side(train.user_rows, train.n_users, user_features)
        self.items = self._side(train.item_rows, train.n_items, item_features)
        self.train_error = float(np.mean(np.square(self._ratings)))

    def sweep(self) -> None:
        """Draw every vector once, given all others."""
        precision = np.float32(NOISE_PRECISION) * self.users.noise[self.users.rows] * self.items.noise[self.items.rows]
        self._draw_side(self.users, self.items, precision)
        self._draw_side(self.items, self.users, precision)
        errors = np.square(self._errors())
        self.train_error = float(errors.mean(dtype=np.float64))
        for side, other in ((self.users, self.items), (self.items, self.users)):
            weighted = errors * np.float32(NOISE_PRECISION) * other.noise[other.rows]
            total = np.bincount(side.rows, weighted, minlength=side.n_rows)
            rate = NOISE_STRENGTH + 0.5 * total
            side.noise = self._random.gamma(NOISE_STRENGTH + np.diff(side.starts) / 2, 1 / rate).astype(np.float32)

    def folded(self) -> tuple[Float32Array, Float32Array]:
        """Plain vectors of the present sample, (n_users, k + 1) and (n_items, k + 1), the bias last."""
        return self._vectors(self.users, self.items), self._vectors(self.items, self.users)

    def _side(self, rows: RowArray, n_rows: int, features: Float32Array) -> Side:
        counts = np.bincount(rows, minlength=n_rows)
        own = self._random.standard_normal((n_rows, self._k + 1)) * _INITIAL_OWN
        own[:, -1] = 0
        return Side(
            rows=rows.astype(np.int64),
            order=np.argsort(rows, kind="stable").astype(np.int64),
            starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            scale=(np.maximum(counts, 1) ** -0.5).astype(np.float32),
            features=np.concatenate([np.ones((n_rows, 1), np.float32), features], axis=1),
            own=own.astype(np.float32),
            implicit=(self._random.standard_normal((n_rows, self._k)) * _INITIAL_IMPLICIT).astype(np.float32),
            noise=np.ones(n_rows, np.float32),
        )

    def _vectors(self, side: Side, other: Side) -> Float32Array:
        vectors = side.own.copy()
        vectors[:, :-1] += side.scale[:, None] * side.sums(other.implicit[other.rows])
        return vectors

    def _seen_by_rating(self, side: Side, other: Side) -> Float32Array:
        """A side's vectors as each rating sees them, without what the rating itself adds: (n_ratings, k)."""
        vectors = self._vectors(side, other)[:, :-1]
        seen: Float32Array = vectors[side.rows] - side.scale[side.rows, None] * other.implicit[other.rows]
        return seen

    def _errors(self) -> Float32Array:
        """Rating minus prediction, (n_ratings,)."""
        users, items = self.users, self.items
        products = (self._seen_by_rating(users, items) * self._seen_by_rating(items, users)).sum(1)
        errors: Float32Array = self._ratings - products - users.own[users.rows, -1] - items.own[items.rows, -1]
        return errors

    def _draw_side(self, side: Side, other: Side, precision: Float32Array) -> None:
        """Own vectors and biases of a side, then the implicit vectors that make up its sums."""
        basis = np.ones((len(precision), self._k + 1), np.float32)
        basis[:, :-1] = self._seen_by_rating(other, side)
        errors = self._errors() + (side.own[side.rows] * basis).sum(1)
        weighted = basis * precision[:, None]
        gram = np.empty((side.n_rows, self._k + 1, self._k + 1), np.float32)
        for row in range(side.n_rows):
            ratings = side.ratings_of(row)
            gram[row] = weighted[ratings].T @ basis[ratings]
        prior_mean, prior_precision = self._draw_prior(side.own, side.features, OWN_SCALE)
        target = side.sums(weighted * errors[:, None]) + prior_mean @ prior_precision
        covariance, noise = self._posterior(gram + prior_precision)
        side.own = np.einsum("nij,nj->ni", covariance, target) + noise
        errors -= (side.own[side.rows] * basis).sum(1)
        self._draw_implicit(
            side, other, np.ascontiguousarray(gram[:, :-1, :-1]), np.ascontiguousarray(basis[:, :-1]), errors, precision
        )

    def _draw_implicit(
        self,
        side: Side,
        other: Side,
        gram: Float32Array,
        basis: Float32Array,
        errors: Float32Array,
        precision: Float32Array,
    ) -> None:
        """One implicit vector of ``other`` after the other; each bears on all ratings of the rows it is summed into.

        gram (n_rows, k, k) and pull (n_rows, k) sum over a row's ratings; a vector does not bear on its own rating, so
        that one is taken out. ``moved`` is how far the sums have moved since ``errors`` were computed.
        """
        k, weighted = self._k, basis * precision[:, None]
        own_square = (side.scale[side.rows] ** 2)[:, None] * weighted
        information = np.empty((other.n_rows, k, k), np.float32)
        flat, squared_scale = gram.reshape(side.n_rows, k * k), side.scale**2
        for row in range(other.n_rows):
            ratings = other.ratings_of(row)
            rows = side.rows[ratings]
            information[row] = (squared_scale[rows] @ flat[rows]).reshape(k, k)
            information[row] -= own_square[ratings].T @ basis[ratings]
        prior_mean, prior_precision = self._draw_prior(other.implicit, other.features, IMPLICIT_SCALE)
        covariance, noise = self._posterior(information + prior_precision)
        prior_target = prior_mean @ prior_precision
        pull = side.sums(weighted * errors[:, None])
        moved = np.zeros((side.n_rows, k), np.float32)
        for row in self._random.permutation(other.n_rows):
            ratings = other.ratings_of(row)
            rows, vectors, weights = side.rows[ratings], basis[ratings], weighted[ratings]
            scale = side.scale[rows]
            own_errors = errors[ratings] - (moved[rows] * vectors).sum(1)
            target = scale @ pull[rows] - (scale * own_errors) @ weights + information[row] @ other.implicit[row]
            drawn = covariance[row] @ (target + prior_target[row]) + noise[row]
            change = drawn - other.implicit[row]
            other.implicit[row] = drawn
            moved[rows] += scale[:, None] * change
            pull[rows] -= scale[:, None] * (gram[rows] @ change - weights * (vectors @ change)[:, None])

    def _posterior(self, precision: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Covariances, and one draw of each zero-mean normal: precision (n, k, k) -> (n, k, k), (n, k)."""
        root = np.linalg.inv(np.linalg.cholesky(precision))
        transposed = np.swapaxes(root, 1, 2)
        draws = self._random.standard_normal(precision.shape[:2], dtype=np.float32)
        return transposed @ root, np.einsum("nij,nj->ni", transposed, draws)

    def _draw_prior(
        self, vectors: Float32Array, features: Float32Array, scale: float
    ) -> tuple[Float32Array, Float32Array]:
        """Means (n, k) and precision (k, k) of the normal prior of some vectors (n, k), given those vectors.

        Matrix-normal coefficients of the features and Wishart precision, drawn by the Bartlett decomposition.
        """
        n, k = vectors.shape
        x, y = features.astype(np.float64), vectors.astype(np.float64)
        normal = x.T @ x + FEATURE_PENALTY * np.eye(x.shape[1])
        fitted = np.linalg.solve(normal, x.T @ y)
        residual = y - x @ fitted
        freedom = k + 2
        spread = residual.T @ residual + FEATURE_PENALTY * fitted.T @ fitted + scale * freedom * np.eye(k)
        root = np.linalg.cholesky(np.linalg.inv(spread))
        bartlett = np.tril(self._random.standard_normal((k, k)), -1)
        bartlett[np.diag_indices(k)] = np.sqrt(self._random.chisquare(freedom + n - np.arange(k)))
        precision = root @ bartlett
        precision = precision @ precision.T
        noise = np.linalg.solve(np.linalg.cholesky(normal).T, self._random.standard_normal(fitted.shape))
        coefficients = fitted + noise @ np.linalg.cholesky(np.linalg.inv(precision)).T
        return (x @ coefficients).astype(np.float32), precision.astype(np.float32)
