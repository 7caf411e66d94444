"""Give items without ratings a row, by their attributes, so that they are part of the exported catalogue.

Training and evaluation know the items with ratings only. Items without ratings are therefore no negatives of a loss and
no candidates of a metric: the metrics of a version do not depend on them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cofactor_trainer.data.attribute_columns.features import item_frame
from cofactor_trainer.data.dataset import Catalogue, Int64Array, RatingsDataset
from cofactor_trainer.data.item_attributes import AttributeColumn, ItemAttributes
from cofactor_trainer.data.profile_regression import encode_profiles
from cofactor_trainer.graphs.new_items.fold_in import build_item_fold_in, unrated_rows
from cofactor_trainer.graphs.new_items.priors import ItemPriors, estimate_item_priors
from cofactor_trainer.graphs.ranking_prior import estimate_priors
from cofactor_trainer.graphs.user_prior import UserPriors
from cofactor_trainer.scoring.trained_model import TrainedModel
from cofactor_trainer.training.threads import one_thread


@dataclass(frozen=True)
class VersionContent:
    """Hold what a version is written from.

    Attributes:
        model: model with a row for every item of the catalogue.
        dataset: ratings that the model was trained on, in the rows of that catalogue.
        rated: every known rating, in the same rows.
        priors: priors over user rows.
        item_priors: priors over item rows; None for a model that cannot embed items.
        n_unrated: number of items whose rows were computed from their attributes.
    """

    model: TrainedModel
    dataset: RatingsDataset
    rated: RatingsDataset
    priors: UserPriors
    item_priors: ItemPriors | None
    n_unrated: int = 0


def prepare_content(model: TrainedModel, dataset: RatingsDataset, rated: RatingsDataset | None) -> VersionContent:
    """Estimate the priors of a model and add the items without ratings (``dataset.unrated``) to it.

    A model that cannot embed items leaves these out.
    """
    with one_thread():
        item_priors = estimate_item_priors(model, dataset)
        content = VersionContent(model, dataset, rated or dataset, estimate_priors(model, dataset), item_priors)
        if dataset.unrated is None or item_priors is None:
            return content
        return _with_unrated(content, item_priors, dataset.unrated)


def _with_unrated(content: VersionContent, priors: ItemPriors, unrated: Catalogue) -> VersionContent:
    """Add items to the content of a version."""
    model, dataset = content.model, content.dataset
    scale = dataset.rated or dataset
    fold_in = build_item_fold_in(model, priors, (scale.rating_min, scale.rating_max), dataset.events)
    attributes = np.zeros((len(unrated.item_ids), 0))
    if priors.features:
        attributes = encode_profiles(priors.features, item_frame(unrated))
    factors, bias = unrated_rows(fold_in, attributes, dataset.n_users)
    if priors.ranking is not None:
        # Nobody chose them, although they were there.
        column = factors[:, -1] if model.n_ranking_factors else bias
        column -= np.float32(priors.ranking.bias.unrated_offset)
    known = dataset.catalogue
    ids = [*known.item_ids, *unrated.item_ids]
    # Python compares strings by code point, which is also the order of their UTF-8 bytes.
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__))
    new_rows = np.empty(len(ids) + 1, np.int64)
    new_rows[order] = np.arange(len(ids))
    new_rows[-1] = len(ids)
    # The unknown item stays the last one.
    of_known = np.append(new_rows[: dataset.n_items], len(ids))
    source = np.append(np.where(order < dataset.n_items, order, order + 1), dataset.n_items)
    catalogue = join_catalogues(known, unrated, order)
    return replace(
        content,
        model=replace(
            model,
            item_factors=np.concatenate([model.item_factors, factors])[source],
            item_bias=np.concatenate([model.item_bias, bias])[source],
        ),
        dataset=_renumbered(dataset, catalogue, of_known),
        rated=_renumbered(content.rated, catalogue, of_known),
        n_unrated=len(unrated.item_ids),
    )


def join_catalogues(first: Catalogue, second: Catalogue, order: Int64Array) -> Catalogue:
    """Return the items of two catalogues in an order: (n,), positions in the first followed by the second."""
    ids, titles, genres = ([*getattr(first, name), *getattr(second, name)] for name in ("item_ids", "titles", "genres"))
    return Catalogue(
        item_ids=[ids[place] for place in order],
        titles=[titles[place] for place in order],
        genres=[genres[place] for place in order],
        release_years=np.concatenate([first.release_years, second.release_years])[order],
        attributes=_join_attributes(first, second, order),
    )


def _join_attributes(first: Catalogue, second: Catalogue, order: Int64Array) -> ItemAttributes:
    """Do the same with the attributes; both catalogues have the same ones, as they come from one table."""
    others = {column.name: column for column in second.attributes.columns}
    columns = []
    for column in first.attributes.columns:
        parts = [column, others[column.name]] if column.name in others else [column]
        values = [part.value(row) for part in parts for row in range(part.n_items)]
        values += [None] * (len(order) - len(values))
        columns.append(AttributeColumn.of_values(column.name, column.type, [values[place] for place in order]))
    return ItemAttributes(tuple(columns))


def _renumbered(dataset: RatingsDataset, catalogue: Catalogue, new_rows: Int64Array) -> RatingsDataset:
    """Return a data set of another catalogue: new_rows (n_items + 1,) of the items that it had."""
    pairs = dataset.dismissed
    rows = new_rows.astype(np.int32)
    return replace(
        dataset,
        catalogue=catalogue,
        item_rows=rows[dataset.item_rows],
        dismissed=None if pairs is None else replace(pairs, item_rows=rows[pairs.item_rows]),
        rated=None if dataset.rated is None else _renumbered(dataset.rated, catalogue, new_rows),
        unrated=None,
    )
