"""Estimate the priors over the rows of items.

The prior of the rating part is that of new users with users and items exchanged. So is the prior of the ranking
factors: given that an item was chosen n times, the users who chose it are n draws from a softmax over the users, whose
logit is the user's ranking logit of the item plus the log of the draws that the user makes, less the log of the user's
own normaliser. The bias of the item is the same for all users and drops out. How many users an item was shown to is not
known, so its ratings say nothing about the bias by their number; it is regressed on the rest of the row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cofactor.v1 import manifest_pb2
from cofactor_trainer.data.attribute_columns.features import describe_item_features, item_frame
from cofactor_trainer.data.dataset import Float32Array, Int64Array, RatingsDataset, row_counts
from cofactor_trainer.data.events.used_rows import UsedRows
from cofactor_trainer.data.profile_regression import (
    Float64Array,
    ProfileModel,
    encode_profiles,
    fit_profile_model,
    ridge_penalty,
)
from cofactor_trainer.graphs.new_items.exchange import exchange_dataset, exchange_model
from cofactor_trainer.graphs.prior_estimation import estimate_rating_prior
from cofactor_trainer.graphs.ranking_fold_in import SOFTMAX_ITEMS, RankingSpace
from cofactor_trainer.graphs.ranking_prior import covariance_of_users, draws_of_ratings, no_effect
from cofactor_trainer.graphs.user_prior import UserPrior, regularise
from cofactor_trainer.scoring.ranking_part import ranking_factors, rating_part
from cofactor_trainer.scoring.trained_model import TrainedModel, select_rows

# The prior is that of items with this many ratings, or of the most rated ones if there are few of them: a rating is
# mostly one of such an item, and the rows of the others are little more than their start values.
WELL_KNOWN_RATINGS = 20
FEWEST_WELL_KNOWN = 500
# Most items whose rows are regressed on their attributes.
MAX_ITEMS = 20_000
_RATINGS_AT_ONCE = 1 << 20
_USERS_AT_ONCE = 512

Features = tuple[manifest_pb2.ProfileFeature, ...]


@dataclass(frozen=True)
class BiasRegression:
    """The ranking bias of an item as a linear function of its other numbers.

    Attributes:
        row_weight: (k,), of the ranking factors, followed by the row of the rating part if there is one.
        attribute_weight: (P,), of the attributes; P is 0 without attributes.
        offset: constant part.
        unrated_offset: what the constant part is less, if nobody rated the item although it was in the catalogue.
    """

    row_weight: Float64Array
    attribute_weight: Float64Array
    offset: float
    unrated_offset: float


@dataclass(frozen=True)
class ItemRankingPrior:
    """The prior over the ranking row of an item.

    Attributes:
        prior: prior over the ranking factors.
        space: the users around the average item; its rows are user rows.
        bias: the ranking bias, given the factors.
    """

    prior: UserPrior
    space: RankingSpace
    bias: BiasRegression


@dataclass(frozen=True)
class ItemPriors:
    """The priors over the rows of items.

    Attributes:
        features: encoding of the attributes; empty if they say nothing.
        rating: prior over the factors and bias of the rating part; None for a model that only ranks.
        ranking: prior over the ranking row; None for a model without one.
    """

    features: Features
    rating: UserPrior | None
    ranking: ItemRankingPrior | None

    @property
    def profile(self) -> ProfileModel | None:
        """Return the regression on the attributes of one part; all parts have the same features."""
        return next((prior.profile for prior in _priors(self.rating, self.ranking)), None)


def estimate_item_priors(model: TrainedModel, dataset: RatingsDataset) -> ItemPriors | None:
    """Estimate the priors of every part of a model; None for a network, whose items cannot be embedded."""
    if model.layers:
        return None
    features = describe_item_features(item_frame(dataset.catalogue))
    rating = None if model.objective == "ranking" else _estimate_rating_prior(model, dataset, features)
    ranking = None
    if model.objective == "ranking" or model.n_ranking_factors:
        ranking = _estimate_ranking_prior(model, dataset, features)
    fitted = [prior.profile for prior in _priors(rating, ranking)]
    if not any(profile is not None and profile.weight.any() for profile in fitted):
        features = ()
    return ItemPriors(features, _with_columns(rating, features), ranking and _with_ranking_columns(ranking, features))


def _priors(rating: UserPrior | None, ranking: ItemRankingPrior | None) -> list[UserPrior]:
    """Return the priors of the parts that a model has."""
    return [prior for prior in (rating, None if ranking is None else ranking.prior) if prior is not None]


def well_known_items(dataset: RatingsDataset) -> Int64Array:
    """Return the rows of the items whose rows tell most about those of others, ascending."""
    counts = dataset.item_rating_counts()
    place = min(FEWEST_WELL_KNOWN, len(counts))
    fewest = min(WELL_KNOWN_RATINGS, int(np.partition(counts, -place)[-place]))
    return np.flatnonzero(counts >= max(fewest, 1)).astype(np.int64)


def _with_columns(prior: UserPrior | None, features: Features) -> UserPrior | None:
    """Give a prior the columns of all attributes, if it was found to depend on none; no columns without features."""
    if prior is None:
        return None
    profile = (prior.profile or no_effect(features, len(prior.mean))) if features else None
    return replace(prior, profile=profile)


def _with_ranking_columns(ranking: ItemRankingPrior, features: Features) -> ItemRankingPrior:
    prior = _with_columns(ranking.prior, features)
    assert prior is not None
    bias = ranking.bias if features else replace(ranking.bias, attribute_weight=np.zeros(0))
    return replace(ranking, prior=prior, bias=bias)


def _estimate_rating_prior(model: TrainedModel, dataset: RatingsDataset, features: Features) -> UserPrior:
    """Estimate the prior of the rating part, from the items that have ratings."""
    rated = dataset.rated or dataset
    items = well_known_items(rated)
    part, chosen = _select_items(rating_part(model), rated, items)
    frame = item_frame(chosen.catalogue) if features else None
    return estimate_rating_prior(exchange_model(part), exchange_dataset(chosen, frame), features or None)


def _select_items(
    model: TrainedModel, dataset: RatingsDataset, items: Int64Array
) -> tuple[TrainedModel, RatingsDataset]:
    """Return the model and the data set of all users and some items."""
    users = np.arange(dataset.n_users + 1)
    return select_rows(model, users, np.append(items, dataset.n_items)), _ratings_of_items(dataset, items)


def _ratings_of_items(dataset: RatingsDataset, items: Int64Array) -> RatingsDataset:
    """Return the data set of all users and some items, without its ratings beside events."""
    return UsedRows.of_items(dataset, items).select(replace(dataset, rated=None))


def _estimate_ranking_prior(model: TrainedModel, dataset: RatingsDataset, features: Features) -> ItemRankingPrior:
    """Estimate the prior of the ranking row from the items that are well known."""
    items = well_known_items(dataset)
    factors, bias = ranking_factors(model)
    rows = factors[items].astype(np.float64)
    trained = UserPrior(rows.mean(0), regularise(np.atleast_2d(np.cov(rows, rowvar=False, bias=True))))
    space = _user_space(model, dataset, trained)
    chosen = _ratings_of_items(dataset, items)
    frame = item_frame(chosen.catalogue)
    posterior = covariance_of_users(space, exchange_dataset(chosen, frame))
    covariance = regularise(space.root @ posterior @ space.root.T)
    sample = np.random.default_rng(0).permutation(len(items))[:MAX_ITEMS]
    profile = fit_profile_model(frame.iloc[sample], rows[sample], covariance, features) if features else None
    prior = UserPrior(rows.mean(0), covariance, profile)
    columns = np.zeros((len(items), 0))
    if features:
        columns = encode_profiles(features, frame)
    known = rows
    if model.objective == "rating":
        known = np.column_stack([rows, model.item_factors[items, : model.n_item_columns], model.item_bias[items]])
    regression = _regress_bias(known[sample], columns[sample], bias[items[sample]].astype(np.float64))
    # The coordinates depend on the prior, which has just been widened.
    space = _user_space(model, dataset, prior)
    return ItemRankingPrior(prior, space, replace(regression, unrated_offset=_unrated_offset(dataset, bias, items)))


def _user_space(model: TrainedModel, dataset: RatingsDataset, prior: UserPrior) -> RankingSpace:
    """Return the users around the average item; of many users, a random sample stands for all."""
    first = model.n_user_columns if model.n_ranking_factors else 0
    factors, bias = ranking_factors(model)
    users = model.user_factors[:-1, first : first + factors.shape[1]]
    totals = _draws_by_user(dataset)
    active = np.flatnonzero(totals > 0)
    sample = np.sort(np.random.default_rng(0).permutation(active)[:SOFTMAX_ITEMS])
    # As in the fold-in of users, the items that the average user is shown last have no visible share of a softmax.
    average = factors[:-1] @ users[sample].mean(0) + bias[:-1]
    items = np.argsort(-average, kind="stable")[:SOFTMAX_ITEMS]
    normalisers = _log_normalisers(users[sample], factors[items], bias[items])
    space = RankingSpace.of(users[sample], (np.log(totals[sample]) - normalisers).astype(np.float32), prior)
    return replace(space, rows=sample[space.rows])


def _draws_by_user(dataset: RatingsDataset) -> Float64Array:
    """Return the number of draws that the ratings of every user count, (n_users,)."""
    totals = np.zeros(dataset.n_users + 1)
    # In parts: numpy copies rows and weights to 8 bytes each.
    for start in range(0, dataset.n_ratings, _RATINGS_AT_ONCE):
        part = slice(start, start + _RATINGS_AT_ONCE)
        totals += np.bincount(dataset.user_rows[part], draws_of_ratings(dataset, dataset.ratings[part]), len(totals))
    return totals[:-1]


def _log_normalisers(users: Float32Array, factors: Float32Array, bias: Float32Array) -> Float64Array:
    """Return the log of the sum of exponentials of every user's logits: (n, r), (m, r), (m,) -> (n,)."""
    found = np.zeros(len(users))
    for start in range(0, len(users), _USERS_AT_ONCE):
        logits = (users[start : start + _USERS_AT_ONCE] @ factors.T + bias).astype(np.float64)
        highest = logits.max(1)
        found[start : start + _USERS_AT_ONCE] = highest + np.log(np.exp(logits - highest[:, None]).sum(1))
    return found


def _regress_bias(rows: Float64Array, columns: Float64Array, bias: Float64Array) -> BiasRegression:
    """Regress the ranking bias on the other numbers of a row and on the attributes: (n, k), (n, P), (n,)."""
    known = np.column_stack([rows, columns])
    mean, scale = known.mean(0), known.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    standardised, target = (known - mean) / scale, bias - bias.mean()
    penalty, _ = ridge_penalty(standardised, target[:, None])
    gram = standardised.T @ standardised + penalty * np.eye(known.shape[1])
    weight = np.linalg.solve(gram, standardised.T @ target) / scale
    n_rows = rows.shape[1]
    return BiasRegression(weight[:n_rows], weight[n_rows:], float(bias.mean() - mean @ weight), 0.0)


def _unrated_offset(dataset: RatingsDataset, bias: Float32Array, well_known: Int64Array) -> float:
    """Return how much lower the bias of an item without ratings is than that of the well-known items.

    Over the rated items the bias is regressed on log(rating count + 1).
    """
    counts = row_counts(dataset.item_rows, dataset.n_items + 1)[:-1]
    rated = np.flatnonzero(counts)
    popularity, values = np.log1p(counts[rated]), bias[rated].astype(np.float64)
    centred = popularity - popularity.mean()
    slope = float(centred @ values) / (float(centred @ centred) or 1.0)
    return max(0.0, slope * float(np.log1p(counts[well_known]).mean()))
