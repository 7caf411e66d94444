"""Sample a Bayesian matrix factorisation with implicit feedback on both sides.

The model is that of svdpp.py with normal errors and without a sigmoid. The rating of item i by user u has the mean

    (p_u + w_u sum_j y_j) . (q_i + v_i sum_x z_x) + b_u + b_i + mean,    w_u, v_i = (number of ratings)^-1/2,

where j runs over the other items that u rated and x over the other users who rated i. Every vector has a normal prior.
The prior's mean is linear in the features of the user or item, and its precision has a Wishart prior. Every user and
every item has its own noise. Predictions are the mean over Gibbs samples, which accounts for the uncertainty of each
vector. Ratings are scaled to the standard deviation of those that the constants below were tuned on, so that a scale of
1 to 100 learns as one of 1 to 5 does.

Sources: R. Salakhutdinov and A. Mnih, Bayesian probabilistic matrix factorization using Markov chain Monte Carlo, ICML
2008; S. Rendle, Factorization machines with libFM, 2012 (the flipped SVD++); J. Simm et al., Macau, 2017 (features);
B. Lakshminarayanan et al., Robust Bayesian matrix factorisation, 2011 (noise).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import embedding_bag

from cofactor_trainer.data.dataset import Float32Array, Int64Array, RatingsDataset, RowArray

Float64Array = npt.NDArray[np.float64]

# Tuned on ML-100k, split 7: docs/decisions/0003-recipes.md. Its ratings have this standard deviation.
TUNED_STD = 1.1257
# Precision of the error of a rating, before it is multiplied by a factor of its user and a factor of its item.
NOISE_PRECISION = 1.25
# Strength of the gamma prior of those factors; the larger it is, the closer to 1 they stay.
NOISE_STRENGTH = 40.0
# Scales of the Wishart priors of own and of implicit vectors.
OWN_SCALE = 0.1
IMPLICIT_SCALE = 0.05
# Ridge penalty of the coefficients of the features.
FEATURE_PENALTY = 5.0
_INITIAL_OWN_STD, _INITIAL_IMPLICIT_STD = 0.1, 0.01


@dataclass
class MatrixSide:
    """One side of the rating matrix, all users or all items, with its vectors in the current sample.

    Attributes:
        rows: (n_ratings,), this side's row of each rating.
        order: (n_ratings,), the ratings sorted by row.
        starts: (n_rows + 1,), where each row's ratings start in ``order``.
        scale: (n_rows,), number of ratings to the power of -1/2.
        features: (n_rows, n_features), the first column is 1.
        own: (n_rows, k + 1), own vectors; the last column is the bias.
        implicit: (n_rows, k), implicit vectors, summed by the other side's rows.
        noise: (n_rows,), factors of the noise precision.
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
        """Number of rows."""
        return len(self.scale)

    def sums(self, values: Float32Array) -> Float32Array:
        """Sum values (n_ratings, k) over each row's ratings, (n_rows, k)."""
        return self._summed(values, self.order)

    def sums_of_rows(
        self, other: MatrixSide, values: Float32Array, weights: Float32Array | None = None
    ) -> Float32Array:
        """Sum values of the other side's rows (n_other, k) over each row's ratings, (n_rows, k).

        weights (n_ratings,), if given, multiply the values.
        """
        return self._summed(values, other.rows[self.order], None if weights is None else weights[self.order])

    def products_by_row(self, left: Float32Array, right: Float32Array) -> Float32Array:
        """Return the product left.T @ right of each row's ratings; (n_ratings, k) each -> (n_rows, k, k)."""
        left, right = left[self.order], right[self.order]
        products = np.empty((self.n_rows, left.shape[1], right.shape[1]), np.float32)
        for row, (start, end) in enumerate(itertools.pairwise(self.starts)):
            np.matmul(left[start:end].T, right[start:end], out=products[row])
        return products

    def _summed(self, values: Float32Array, rows: Int64Array, weights: Float32Array | None = None) -> Float32Array:
        """Sum the values (n, k) in ``rows`` (n_ratings,), which are sorted by this side's rows."""
        # An embedding bag sums without a copy of the values by rating.
        total = embedding_bag(
            torch.from_numpy(rows),
            torch.from_numpy(values),
            torch.from_numpy(self.starts[:-1]),
            mode="sum",
            per_sample_weights=None if weights is None else torch.from_numpy(weights),
        )
        sums: Float32Array = total.numpy()
        return sums


class GibbsSampler:
    """Draws samples of the model from its posterior; the same seed draws the same samples.

    Attributes:
        mean: mean of the ratings.
        unit: standard deviation of the ratings as a multiple of that which the constants were tuned for.
        train_error: mean squared error on the ratings, in the current sample.
    """

    noise_precision = NOISE_PRECISION

    def __init__(
        self, train: RatingsDataset, user_features: Float32Array, item_features: Float32Array, k: int, seed: int
    ) -> None:
        self._random = np.random.default_rng(seed)
        self.mean = float(train.ratings.mean(dtype=np.float64))
        self.unit = float(train.ratings.std(dtype=np.float64)) / TUNED_STD or 1.0
        self._ratings = ((train.ratings - np.float32(self.mean)) / np.float32(self.unit)).astype(np.float32)
        self._k = k
        self.users = self._side(train.user_rows, train.n_users, user_features)
        self.items = self._side(train.item_rows, train.n_items, item_features)
        self.train_error = float(np.mean(np.square(self._ratings))) * self.unit**2

    def sweep(self) -> None:
        """Draw every vector and every noise factor once, given all others."""
        precision = self.precision_by_rating()
        self._draw_side(self.users, self.items, precision)
        self._draw_side(self.items, self.users, precision)
        errors = np.square(self._errors())
        self.train_error = float(errors.mean(dtype=np.float64)) * self.unit**2
        for side, other in ((self.users, self.items), (self.items, self.users)):
            weighted = errors * np.float32(self.noise_precision) * other.noise[other.rows]
            total = np.bincount(side.rows, weighted, minlength=side.n_rows)
            rate = NOISE_STRENGTH + 0.5 * total
            side.noise = self._random.gamma(NOISE_STRENGTH + np.diff(side.starts) / 2, 1 / rate).astype(np.float32)

    def precision_by_rating(self) -> Float32Array:
        """Return the noise precision of every rating in units of ``unit``, in the current sample: (n_ratings,)."""
        precision: Float32Array = np.float32(self.noise_precision) * self.users.noise[self.users.rows]
        precision *= self.items.noise[self.items.rows]
        return precision

    def predictions(self) -> Float32Array:
        """Return the mean rating of every user and item in the current sample, (n_users, n_items)."""
        means = self._products()
        means *= np.float32(self.unit)
        means += np.float32(self.mean)
        return means

    def _products(self) -> Float32Array:
        """Return the mean of every user and item in the current sample, in units of ``unit``: (n_users, n_items)."""
        users, items = self._vectors(self.users, self.items), self._vectors(self.items, self.users)
        products: Float32Array = users[:, :-1] @ items[:, :-1].T
        products += users[:, -1:] + items[:, -1]
        return products

    def _side(self, rows: RowArray, n_rows: int, features: Float32Array) -> MatrixSide:
        """Build a side with random own and implicit vectors and biases of 0."""
        counts = np.bincount(rows, minlength=n_rows)
        own = self._random.standard_normal((n_rows, self._k + 1)) * _INITIAL_OWN_STD
        own[:, -1] = 0
        return MatrixSide(
            rows=rows.astype(np.int64),
            order=np.argsort(rows, kind="stable").astype(np.int64),
            starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            scale=(np.maximum(counts, 1) ** -0.5).astype(np.float32),
            features=np.concatenate([np.ones((n_rows, 1), np.float32), features], axis=1),
            own=own.astype(np.float32),
            implicit=(self._random.standard_normal((n_rows, self._k)) * _INITIAL_IMPLICIT_STD).astype(np.float32),
            noise=np.ones(n_rows, np.float32),
        )

    def _vectors(self, side: MatrixSide, other: MatrixSide) -> Float32Array:
        """Add implicit feedback to the own vectors of a side, (n_rows, k + 1)."""
        vectors = side.own.copy()
        vectors[:, :-1] += side.scale[:, None] * side.sums_of_rows(other, other.implicit)
        return vectors

    def _vectors_by_rating(self, side: MatrixSide, other: MatrixSide) -> Float32Array:
        """Return a side's vector for each rating, without the feedback of that rating itself: (n_ratings, k)."""
        vectors = self._vectors(side, other)[:, :-1]
        by_rating: Float32Array = vectors[side.rows] - side.scale[side.rows, None] * other.implicit[other.rows]
        return by_rating

    def _errors(self) -> Float32Array:
        """Return ratings minus predictions in units of ``unit``, (n_ratings,)."""
        users, items = self.users, self.items
        products = (self._vectors_by_rating(users, items) * self._vectors_by_rating(items, users)).sum(1)
        errors: Float32Array = self._ratings - products - users.own[users.rows, -1] - items.own[items.rows, -1]
        return errors

    def _draw_side(self, side: MatrixSide, other: MatrixSide, precision: Float32Array) -> None:
        """Draw the own vectors and biases of a side, then the implicit vectors that its rows sum.

        precision (n_ratings,) is the noise precision of each rating.
        """
        basis = np.ones((len(precision), self._k + 1), np.float32)
        basis[:, :-1] = self._vectors_by_rating(other, side)
        errors = self._errors() + (side.own[side.rows] * basis).sum(1)
        weighted = basis * precision[:, None]
        gram = side.products_by_row(weighted, basis)
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
        side: MatrixSide,
        other: MatrixSide,
        gram: Float32Array,
        basis: Float32Array,
        errors: Float32Array,
        precision: Float32Array,
    ) -> None:
        """Draw the implicit vectors of ``other`` one by one.

        An implicit vector affects all ratings of the rows that sum it, except the rating that it comes from. So sums
        over all ratings of a row (gram (n_rows, k, k), error_sums (n_rows, k)) are corrected by that one rating.
        feedback_changes (n_rows, k) is how much the sums of implicit vectors changed since ``errors`` (n_ratings,)
        were computed.
        """
        k, weighted = self._k, basis * precision[:, None]
        information = self._implicit_information(side, other, gram, basis, weighted)
        prior_mean, prior_precision = self._draw_prior(other.implicit, other.features, IMPLICIT_SCALE)
        covariance, noise = self._posterior(information + prior_precision)
        prior_target = prior_mean @ prior_precision
        error_sums = side.sums(weighted * errors[:, None])
        feedback_changes = np.zeros((side.n_rows, k), np.float32)
        in_order = [values[other.order] for values in (side.rows, basis, weighted, errors)]
        for row in self._random.permutation(other.n_rows):
            ratings = slice(other.starts[row], other.starts[row + 1])
            rows, vectors, weights, errors_before = (values[ratings] for values in in_order)
            scale = side.scale[rows]
            own_errors = errors_before - np.einsum("nk,nk->n", feedback_changes[rows], vectors)
            target = scale @ error_sums[rows] - (scale * own_errors) @ weights + information[row] @ other.implicit[row]
            drawn = covariance[row] @ (target + prior_target[row]) + noise[row]
            change = drawn - other.implicit[row]
            other.implicit[row] = drawn
            feedback_changes[rows] += scale[:, None] * change
            error_sums[rows] -= scale[:, None] * (gram[rows] @ change - weights * (vectors @ change)[:, None])

    def _implicit_information(
        self, side: MatrixSide, other: MatrixSide, gram: Float32Array, basis: Float32Array, weighted: Float32Array
    ) -> Float32Array:
        """Return the precision that the ratings give to each implicit vector of ``other``, (n_rows, k, k)."""
        k = self._k
        squared_scale = (side.scale**2)[side.rows]
        flat_gram = gram.reshape(side.n_rows, k * k)
        information = other.sums_of_rows(side, flat_gram, squared_scale).reshape(other.n_rows, k, k)
        information -= other.products_by_row(squared_scale[:, None] * weighted, basis)
        return information

    def _posterior(self, precision: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Return covariances (n, k, k) and one draw (n, k) of zero-mean normals with precision (n, k, k)."""
        root = np.linalg.inv(np.linalg.cholesky(precision))
        transposed = np.swapaxes(root, 1, 2)
        draws = self._random.standard_normal(precision.shape[:2], dtype=np.float32)
        return transposed @ root, np.einsum("nij,nj->ni", transposed, draws)

    def _draw_prior(
        self, vectors: Float32Array, features: Float32Array, scale: float
    ) -> tuple[Float32Array, Float32Array]:
        """Draw the means (n, k) and the precision (k, k) of the prior of vectors (n, k), given those vectors.

        The coefficients of the features (n, n_features) are matrix normal. The precision is Wishart, drawn with the
        Bartlett decomposition.
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
