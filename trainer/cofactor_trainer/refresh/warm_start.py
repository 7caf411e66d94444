"""Start from the rows of a version and learn what is new (docs/decisions/0018-warm-start.md).

Users and items that the version knows keep their rows. New users are folded in, new items are fitted to their ratings,
and the rows of users whose ratings changed take one step. Items that the version knows take a step only if the
embedding space is renewed: otherwise embeddings of the version stay valid for the new one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cofactor_trainer.data.dataset import BoolArray, Float64Array, Int64Array, RatingsDataset
from cofactor_trainer.errors import InputError
from cofactor_trainer.export.lineage import Lineage
from cofactor_trainer.graphs.ranking_fold_in import RankingSpace
from cofactor_trainer.graphs.ranking_prior import HIGHEST_WEIGHT, LOWEST_WEIGHT
from cofactor_trainer.refresh.changes import Changes, find_changes
from cofactor_trainer.refresh.item_priors import RowPrior, error_variance, prior_of_items
from cofactor_trainer.refresh.new_users import fold_in_users
from cofactor_trainer.refresh.pair_table import Floats, PairTable, Rows, sums_by_row
from cofactor_trainer.refresh.ranking_rows import RankingItems, move_ranking_users
from cofactor_trainer.refresh.rating_rows import RatingSide
from cofactor_trainer.refresh.starting_version import StartingVersion
from cofactor_trainer.refresh.two_parts import TwoParts
from cofactor_trainer.scoring.ranking_part import rating_part
from cofactor_trainer.scoring.trained_model import TrainedModel, select_rows


@dataclass(frozen=True)
class WarmStart:
    """The result of a warm start.

    Attributes:
        model: the model, in the rows of the data set.
        changes: what the version did not know.
        lineage: where the model comes from, for its manifest.
    """

    model: TrainedModel
    changes: Changes
    lineage: Lineage


def warm_start(start: StartingVersion, dataset: RatingsDataset, *, keeps_space: bool = True) -> WarmStart:
    """Learn what a data set has that a version does not know.

    Args:
        start: version to start from.
        dataset: all ratings, or weighed events, old and new; every pair of a user and an item occurs once.
        keeps_space: False to move the rows of items that the version knows, too.

    Raises:
        InputError: the data set does not fit the version (`check_fits`).
    """
    check_fits(start, dataset)
    changes = find_changes(start, dataset)
    parts = TwoParts.of(carry_over(start, dataset, changes))
    _learn_ratings(start, dataset, changes, parts, moves_items=not keeps_space)
    _learn_ranking(start, dataset, changes, parts, moves_items=not keeps_space)
    model = parts.to_model()
    manifest = start.exported.manifest
    space = manifest.embedding_space if keeps_space and _has_same_items(start, model, changes) else None
    return WarmStart(model, changes, Lineage(manifest.version, manifest.warm_start_count + 1, space))


def check_fits(start: StartingVersion, dataset: RatingsDataset) -> None:
    """Raise `InputError` if a version could not have learnt from a data set of this kind."""
    manifest, path = start.exported.manifest, start.exported.path
    if (dataset.events is not None) != manifest.HasField("events") or dataset.rated is not None:
        ours = "events" if dataset.events is not None else "ratings"
        theirs = "events" if manifest.HasField("events") else "ratings"
        raise InputError(
            f"the version learnt from {theirs}, but the data are {ours if ours != theirs else 'ratings and events'}: "
            "choose the flags of the data that the version was trained with",
            path,
        )
    if dataset.events is not None:
        _check_events(start, dataset)
    elif not manifest.rating_min <= dataset.ratings.min() <= dataset.ratings.max() <= manifest.rating_max:
        raise InputError(
            f"the version was trained on ratings of {manifest.rating_min:g} to {manifest.rating_max:g}, but the data "
            f"have ratings of {dataset.ratings.min():g} to {dataset.ratings.max():g}: train in full, with "
            "cofactor-train --dataset",
            path,
        )


def _check_events(start: StartingVersion, dataset: RatingsDataset) -> None:
    """Refuse events that are weighed by other rules than those of the version."""
    ours, theirs = dataset.events, start.exported.manifest.events
    assert ours is not None
    known = {kind.name: (kind.weight, kind.negative) for kind in theirs.types}
    same = all(
        known.get(kind.name, (np.float32(kind.weight), kind.is_negative)) == (np.float32(kind.weight), kind.is_negative)
        for kind in ours.types
    )
    settings = (ours.half_life, ours.weight_cap, ours.log_weights)
    if not same or settings != (theirs.half_life_seconds, theirs.weight_cap, theirs.log_weights):
        raise InputError(
            "the version weighed events by other rules: repeat the --events, --negative-events, --half-life, "
            "--weight-cap and --log-weights that it was trained with, or train in full, with cofactor-train --dataset",
            start.exported.path,
        )


def carry_over(start: StartingVersion, dataset: RatingsDataset, changes: Changes) -> TrainedModel:
    """Return the model of a version as it would serve the users and items of a data set, in the rows of these.

    New users are folded in with their ratings of known items; new items have the row of the unknown item.
    """
    model = select_rows(start.model, changes.old_user_rows, changes.old_item_rows)
    new_users = np.flatnonzero(changes.is_new_user).astype(np.int64)
    factors, bias = fold_in_users(start, dataset, new_users, changes.old_item_rows)
    model.user_factors[new_users], model.user_bias[new_users] = factors, bias
    return model


@dataclass(frozen=True)
class _Gradients:
    """Which pairs have a gradient when known rows move, as masks of the changes (n,).

    A new user was folded in with the known items, so only new items have a gradient. A new item was fitted to all.
    """

    of_users: BoolArray
    of_items: BoolArray

    @classmethod
    def of(cls, changes: Changes) -> _Gradients:
        is_new_item = changes.is_new_item[changes.item_rows]
        return cls(~changes.is_new_user[changes.user_rows] | is_new_item, ~is_new_item)


def _learn_ratings(
    start: StartingVersion, dataset: RatingsDataset, changes: Changes, parts: TwoParts, *, moves_items: bool
) -> None:
    """Move the rows of the rating part."""
    users, items, prior = parts.rating_users, parts.rating_items, start.prior
    old_items = TwoParts.of(start.model).rating_items
    if users is None or items is None or prior is None or old_items is None:
        return
    gradients, model = _Gradients.of(changes), rating_part(parts.model)
    is_news = changes.is_new_user[dataset.user_rows] | changes.is_new_item[dataset.item_rows]
    item_prior = prior_of_items(old_items, error_variance(model, dataset.select_ratings(~is_news)))
    item_side = _rating_side(model, dataset, changes, gradients.of_items, users, item_prior, of_items=True)
    item_side.fit(items, np.flatnonzero(changes.is_new_item).astype(np.int64))
    user_prior = RowPrior(prior.mean, prior.precision)
    user_side = _rating_side(model, dataset, changes, gradients.of_users, items, user_prior, of_items=False)
    user_side.move(users, np.unique(changes.user_rows[gradients.of_users]))
    if moves_items:
        item_side.move(items, np.unique(changes.item_rows[gradients.of_items]))


def _rating_side(
    model: TrainedModel,
    dataset: RatingsDataset,
    changes: Changes,
    chosen: BoolArray,
    others: Float64Array,
    prior: RowPrior,
    *,
    of_items: bool,
) -> RatingSide:
    """Return the users or the items of the rating part; ``chosen`` marks the changes that have a gradient."""
    n_rows = dataset.n_items + 1 if of_items else dataset.n_users + 1

    def table(user_rows: Rows, item_rows: Rows, values: Floats) -> PairTable:
        own, other = (item_rows, user_rows) if of_items else (user_rows, item_rows)
        return PairTable(own, other, values, n_rows)

    gained, lost = (
        table(changes.user_rows[there], changes.item_rows[there], values[there])
        for values in (changes.after, changes.before)
        for there in [chosen & ~np.isnan(values)]
    )
    ratings = table(dataset.user_rows, dataset.item_rows, dataset.ratings)
    return RatingSide(others, ratings, gained, lost, prior.mean, prior.precision, model.global_bias, model.rating_range)


def _learn_ranking(
    start: StartingVersion, dataset: RatingsDataset, changes: Changes, parts: TwoParts, *, moves_items: bool
) -> None:
    """Move the rows of the ranking."""
    users, items, prior = parts.ranking_users, parts.ranking_items, start.ranking_prior
    if users is None or items is None or prior is None:
        return
    gradients = _Gradients.of(changes)
    weights = _draws(start, dataset.ratings.astype(np.float64))
    change = _draws(start, changes.after) - _draws(start, changes.before)
    totals = sums_by_row(dataset.user_rows, weights, dataset.n_users + 1)
    is_known_item = ~changes.is_new_item
    rows_of_version = TwoParts.of(start.model).ranking_items
    assert rows_of_version is not None
    item_prior = prior_of_items(rows_of_version)
    ranking = RankingItems.of(users[:-1], items[:-1][is_known_item], totals[:-1], item_prior.mean, item_prior.precision)
    ranking.fit(
        items,
        np.flatnonzero(changes.is_new_item).astype(np.int64),
        PairTable(dataset.item_rows, dataset.user_rows, weights, dataset.n_items + 1),
    )
    space = RankingSpace.of(items[:-1, :-1].astype(np.float32), items[:-1, -1].astype(np.float32), prior)
    by_user = _table(changes.user_rows, changes.item_rows, change, gradients.of_users, dataset.n_users + 1)
    move_ranking_users(users, by_user.rows(), items[:, :-1], space, by_user, totals)
    if moves_items:
        by_item = _table(changes.item_rows, changes.user_rows, change, gradients.of_items, dataset.n_items + 1)
        ranking.move(items, by_item.rows(), by_item)


def _table(
    own_rows: Int64Array, other_rows: Int64Array, values: Float64Array, chosen: BoolArray, n_rows: int
) -> PairTable:
    return PairTable(own_rows[chosen], other_rows[chosen], values[chosen], n_rows)


def _draws(start: StartingVersion, values: Float64Array) -> Float64Array:
    """Return how many draws from the softmax each rating or weight counts as, as in training; NaN counts as 0."""
    if start.mean_weight:
        return np.nan_to_num(values / start.mean_weight)
    low, high = start.exported.manifest.rating_min, start.exported.manifest.rating_max
    shares = (values - low) / ((high - low) or 1.0)
    return np.nan_to_num(LOWEST_WEIGHT + (HIGHEST_WEIGHT - LOWEST_WEIGHT) * shares)


def _has_same_items(start: StartingVersion, model: TrainedModel, changes: Changes) -> bool:
    """Return True if every item that the version knows has the row that it has there, bit for bit."""
    known = np.flatnonzero(~changes.is_new_item)
    old = changes.old_item_rows[known]
    return all(
        np.array_equal(getattr(model, name)[known], getattr(start.model, name)[old])
        for name in ("item_factors", "item_bias")
    )
