"""Build the sections of the report: a heading, a short explanation, and a figure or a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from cofactor_trainer.data.dataset import Int64Array, RatingsDataset
from cofactor_trainer.evaluation.error_groups import GroupErrors, errors_by_popularity, errors_by_rating
from cofactor_trainer.evaluation.lorenz_curve import LorenzCurve, lorenz_curve
from cofactor_trainer.evaluation.new_users import NewUserErrors
from cofactor_trainer.export.held_out_measures import HeldOutMeasures, read_measures
from cofactor_trainer.export.version_reader import ExportedVersion
from cofactor_trainer.report import figures, statistics
from cofactor_trainer.report.map_labels import group_by_genre

_MAPPED_ITEMS = 400
_COLOURED_GENRES = 7
_LISTED_ITEMS = 10
_ITEMS_WITH_NEIGHBOURS = 8
_NEIGHBOURS = 5
_TABLE_USERS, _TABLE_ITEMS = 15, 15


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        title: heading.
        text: explanation.
        figure: plotly figure, or None.
        columns: column titles of the table; empty without a table.
        rows: rows of the table.
    """

    title: str
    text: str
    figure: go.Figure | None = None
    columns: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()

    @property
    def figure_html(self) -> str:
        """The figure without plotly's own code, which the page contains once."""
        return "" if self.figure is None else self.figure.to_html(full_html=False, include_plotlyjs=False)


def build_sections(version: ExportedVersion, validation: RatingsDataset | None) -> list[Section]:
    """Build all sections in order.

    The measures on held-out ratings are those in the version. A version without them is judged on the held-out ratings,
    if these are given and it is a rating model.
    """
    held_out = validation if version.manifest.objective == "rating" and not version.manifest.refitted else None
    measures = read_measures(version.path)
    new_users, squared_error = None, None
    if measures is not None:
        errors = _held_out_measures(measures, version.manifest.metrics_protocol)
        new_users, squared_error = measures.new_users, measures.squared_error
    elif held_out is not None:
        errors = _rating_errors(version, held_out)
        new_users = statistics.new_user_errors(version, held_out)
        squared_error = statistics.squared_error_by_user(version, held_out)
    else:
        errors = [_no_errors()] if version.manifest.refitted else []
    return [
        _loss_curves(version),
        *errors,
        *([] if new_users is None else [_new_users(new_users)]),
        _best_and_worst_liked(version),
        _item_map(version),
        _nearest_neighbours(version),
        _rating_table(version),
        _representation_bias(version, squared_error),
    ]


def _loss_curves(version: ExportedVersion) -> Section:
    epochs = version.manifest.epochs
    rows = [
        (
            str(epoch.number),
            f"{epoch.train_loss:.4f}",
            f"{epoch.validation_loss:.4f}" if epoch.HasField("validation_loss") else "",
            f"{epoch.seconds:.2f} s",
        )
        for epoch in epochs
    ]
    return Section(
        "Loss curves",
        "The training that the metrics were measured after. If the validation loss rises while the training loss "
        "falls, the model overfits.",
        figures.loss_curves(epochs) if epochs else None,
        ("epoch", "training loss", "validation loss", "time"),
        rows,
    )


def _no_errors() -> Section:
    return Section(
        "Errors",
        "This version was trained again on all ratings, so no rating is left to show its errors on, and it was "
        "exported before versions kept more than the metrics above. Train again to see errors by rating, by popularity "
        "and for new users.",
    )


def _rating_errors(version: ExportedVersion, validation: RatingsDataset) -> list[Section]:
    predicted = version.predict(validation.user_rows, validation.item_rows)
    counts = np.append(version.tables["item_rating_counts"], 0)[validation.item_rows]
    return _group_errors(
        errors_by_rating(predicted, validation.ratings), errors_by_popularity(counts, predicted, validation.ratings)
    )


def _held_out_measures(measures: HeldOutMeasures, protocol: str) -> list[Section]:
    groups = []
    if measures.by_rating is not None and measures.by_popularity is not None:
        groups = _group_errors(measures.by_rating, measures.by_popularity)
    return [_baselines(measures, protocol), *groups]


def _baselines(measures: HeldOutMeasures, protocol: str) -> Section:
    titles = {
        "rmse": "RMSE",
        "mae": "MAE",
        "ndcg": f"NDCG@{measures.k}",
        "recall": f"recall@{measures.k}",
        "coverage": f"coverage@{measures.k}",
        "first_item_share": "same first item",
    }
    models = measures.models
    shown = [name for name in titles if any(name in values for values in models.values())]
    as_percent = ("coverage", "first_item_share")

    def cell(values: Mapping[str, float], name: str) -> str:
        if name not in values:
            return "-"
        return f"{values[name]:.1%}" if name in as_percent else f"{values[name]:.4f}"

    text = f"{protocol[:1].upper()}{protocol[1:]}. " if protocol else ""
    text += "Errors of predicted ratings (lower is better). " if "rmse" in shown else ""
    if "ndcg" in shown:
        n_users = max(int(values.get("n_users", 0)) for values in models.values())
        relevant = "the user came to it in a held-out event"
        if measures.relevant_from is not None:
            relevant = f"the user gave it {measures.relevant_from:g} or more and that rating was held out"
        text += (
            f"The quality of the first {measures.k} recommendations for {n_users:,} users (higher is better): an item "
            f"counts if {relevant}. Coverage is the share of the catalogue among these recommendations. The last "
            "column is the share of the users whose list begins with the most frequent first item: 100% means that all "
            "lists begin alike. "
        )
        if len([name for name in models if name.startswith("this model")]) > 1:
            text += "The model's own order adds the popularity of the items to the predicted rating. "
    text += "A model that is no better than the baselines has learnt nothing about single users."
    return Section(
        "Compared with baselines",
        text,
        columns=("", *(titles[name] for name in shown)),
        rows=[(model, *(cell(values, name) for name in shown)) for model, values in models.items()],
    )


def _group_errors(by_rating: GroupErrors, by_popularity: GroupErrors) -> list[Section]:
    return [
        Section(
            "Error by rating",
            "Errors on held-out ratings. Every model shrinks its predictions towards the mean, so low ratings are "
            "predicted too high and high ratings too low.",
            figures.group_errors(by_rating, "true rating"),
        ),
        Section(
            "Error by popularity",
            "Errors on held-out ratings, by the number of training ratings of the item. Items with few ratings are "
            "harder to predict.",
            figures.group_errors(by_popularity, "training ratings of the item"),
        ),
    ]


def _best_and_worst_liked(version: ExportedVersion) -> Section:
    counts = version.tables["item_rating_counts"]
    fewest = statistics.fewest_ratings_to_rank(counts)
    listed = np.flatnonzero(counts >= fewest)
    effect = "item_effect" if "item_effect" in version.tables else "item_bias"
    liking = version.tables[effect][: len(counts)][listed]
    text = "How much an item is liked, whatever the taste of the user: its mean logit, less that of all items."
    if not liking.any():  # a version without effects, and a model without biases
        average_user = np.full(len(listed), version.manifest.user_count)
        liking = version.predict(average_user, listed)
        text = "Ordered by the prediction for the average user, because this model has no item biases."
    order = np.argsort(liking, kind="stable")

    def entry(position: int) -> str:
        row = listed[position]
        return f"{version.item_titles[row]} ({liking[position]:.2f}, {counts[row]:,} ratings)"

    return Section(
        "Best and worst liked items",
        f"{text} Only items with at least {fewest} ratings are listed.",
        columns=("best liked", "worst liked"),
        rows=[(entry(high), entry(low)) for high, low in zip(order[::-1], order, strict=True)][:_LISTED_ITEMS],
    )


def _item_map(version: ExportedVersion) -> Section:
    counts = version.tables["item_rating_counts"]
    rows = _most_rated(version, _MAPPED_ITEMS)
    coordinates, share = statistics.principal_components(version.compared_factors[rows])
    return Section(
        "Map of the items",
        f"The {len(rows)} most rated items on the first two principal components of their factors. Items that are "
        "close together are liked by the same people. The colour is the most frequent genre of the item. Hover over a "
        "point to see its title.",
        figures.item_map(
            coordinates,
            share,
            [version.item_titles[row] for row in rows],
            counts[rows],
            group_by_genre([_genres(version, row) for row in rows], _COLOURED_GENRES),
        )
        if coordinates.shape[1] == 2
        else None,
    )


def _genres(version: ExportedVersion, row: int) -> list[str]:
    start, end = version.tables["item_genres.offsets"][row : row + 2]
    names = version.strings("genre_names")
    return [names[number] for number in version.tables["item_genres.indices"][start:end]]


def _nearest_neighbours(version: ExportedVersion) -> Section:
    rows = []
    n_items = version.manifest.item_count
    for row in _most_rated(version, _ITEMS_WITH_NEIGHBOURS):
        outputs = version.run(
            "similar_items",
            item_rows=np.array([row]),
            excluded_rows=np.array([n_items]),
            k=np.array([min(_NEIGHBOURS, n_items)]),
        )
        neighbours = zip(outputs["similar_rows"], outputs["scores"], strict=True)
        named = [f"{version.item_titles[other]} ({score:.2f})" for other, score in neighbours if score > -1e29]
        rows.append((version.item_titles[row], "; ".join(named)))
    text = "The items with the highest cosine similarity of factors, for the most rated items."
    return Section("Nearest neighbours", text, columns=("item", "nearest items, with cosine"), rows=rows)


def _rating_table(version: ExportedVersion) -> Section:
    offsets = version.tables["rated.offsets"]
    users = np.argsort(-np.diff(offsets), kind="stable")[:_TABLE_USERS]
    items = _most_rated(version, _TABLE_ITEMS)
    ratings = np.full((len(users), len(items)), np.nan)
    for position, user in enumerate(users):
        rated = version.tables["rated.item_rows"][offsets[user] : offsets[user + 1]]
        _, columns, places = np.intersect1d(items, rated, return_indices=True)
        ratings[position, columns] = version.tables["rated.ratings"][offsets[user] + places]
        if "rated.has_rating" in version.tables:
            ratings[position, columns[version.tables["rated.has_rating"][offsets[user] + places] == 0]] = np.nan
    user_ids = version.strings("user_ids")
    manifest = version.manifest
    density = manifest.rating_count / (manifest.user_count * manifest.item_count)
    low, high = manifest.rating_min, manifest.rating_max
    what, aim = "Ratings of the most active users for the most rated items.", "The model predicts the missing ratings."
    if manifest.HasField("events"):
        low, high = 0.0, float(np.nanmax(ratings, initial=1.0))
        what = "Weights of the events of the most active users with the most frequent items."
        aim = "The model orders the items that are missing."
    return Section(
        "Rating table",
        f"{what} Even here some are missing, and of the whole table only {density:.2%} is filled. {aim}",
        figures.ratings_table(
            ratings,
            [user_ids[user] for user in users],
            [version.item_titles[item] for item in items],
            low,
            high,
        ),
    )


def _representation_bias(version: ExportedVersion, squared_error: LorenzCurve | None) -> Section:
    per_user = np.diff(version.tables["rated.offsets"])
    per_item = version.tables["item_rating_counts"]
    exposures = statistics.count_exposures(version)
    by_user, by_item = lorenz_curve(per_user, per_user), lorenz_curve(per_item, per_item)
    exposed = lorenz_curve(per_item, exposures)
    curves = {"ratings, by user": by_user, "ratings, by item": by_item, "places in the first ten, by item": exposed}
    if squared_error is not None:
        curves["held-out squared error, by user"] = squared_error
    return Section(
        "Representation bias",
        "A few very active users determine most of what the model learns, and recommendations influence future "
        f"ratings. Here the most active tenth of the users gave {by_user.held_by(0.1):.0%} of the ratings. The most "
        f"rated tenth of the items takes {exposed.held_by(0.1):.0%} of the places in recommendations. "
        f"{np.count_nonzero(exposures) / len(exposures):.0%} of the catalogue is recommended to at least one user.",
        figures.lorenz_curves(curves),
    )


def _new_users(errors: NewUserErrors) -> Section:
    return Section(
        "New users",
        f"Error on the held-out ratings of {errors.n_users} users who were folded in from a few of their ratings, "
        "as if they were new. The item factors were trained with the ratings of these users, so the error is "
        "slightly lower than for a really new user.",
        figures.new_user_curve(errors),
    )


def _most_rated(version: ExportedVersion, n: int) -> Int64Array:
    return np.argsort(-version.tables["item_rating_counts"], kind="stable")[:n]
