"""Writes the report: one HTML file that needs nothing else, not even a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from cofactor_trainer.data.dataset import Int64Array, RatingsDataset
from cofactor_trainer.errors import InputError
from cofactor_trainer.export.version_reader import ExportedVersion
from cofactor_trainer.report import evidence, figures

_MAPPED_ITEMS = 400
_LISTED_BY_BIAS = 10
_FEWEST_RATINGS_TO_LIST = 20
_KNOWN_ITEMS = 8
_NEIGHBOURS = 5
_TABLE_ROWS, _TABLE_COLUMNS = 15, 15


@dataclass(frozen=True)
class Section:
    """A heading, what to see there, and a figure or a table or both."""

    title: str
    text: str
    figure: go.Figure | None = None
    columns: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()

    @property
    def figure_html(self) -> str:
        """The figure without plotly itself, which the page holds once."""
        return "" if self.figure is None else self.figure.to_html(full_html=False, include_plotlyjs=False)


def write_report(version: ExportedVersion, validation: RatingsDataset | None, path: Path) -> None:
    """Write the report of a version.

    Args:
        version: the model.
        validation: ratings it was not trained on, in its rows; None leaves out what needs them.
        path: of the HTML file.

    Raises:
        InputError: the ratings are not of this version, or the file cannot be written.
    """
    if validation is not None:
        _check_rows(version, validation)
    sections = [
        _training(version),
        *([] if validation is None else _accuracy(version, validation)),
        _biases(version),
        _map(version),
        _neighbours(version),
        _table(version),
        _representation(version, validation),
        *([] if validation is None else _new_users(version, validation)),
    ]
    template = jinja2.Environment(autoescape=True).from_string(
        resources.files("cofactor_trainer.report").joinpath("page.html").read_text(encoding="utf-8")
    )
    html = template.render(
        manifest=version.manifest,
        trained=version.manifest.train_time.ToDatetime().strftime("%Y-%m-%d %H:%M UTC"),
        sections=sections,
        plotly=get_plotlyjs(),
    )
    try:
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise InputError(f"the report cannot be written: {error.strerror}", path) from error


def _check_rows(version: ExportedVersion, validation: RatingsDataset) -> None:
    if version.strings("item_ids") != list(validation.catalogue.item_ids) or version.strings("user_ids") != list(
        validation.user_ids
    ):
        raise InputError(
            f"version {version.manifest.version} of {version.manifest.name} was not trained on this split of "
            f"{validation.name}: give the --dataset, --validation-fraction and --split-seed it was trained with"
        )


def _training(version: ExportedVersion) -> Section:
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
    columns = ("epoch", "training loss", "validation loss", "time")
    figure = figures.loss_curves(epochs) if epochs else None
    return Section(
        "Loss curves", "Where validation climbs while training falls, the model memorises.", figure, columns, rows
    )


def _accuracy(version: ExportedVersion, validation: RatingsDataset) -> list[Section]:
    if version.manifest.objective != "rating":
        return []
    predicted = version.predict(validation.user_rows, validation.item_rows)
    counts = np.append(version.tables["item_rating_counts"], 0)[validation.item_rows]
    by_rating = figures.group_errors(evidence.errors_by_rating(predicted, validation.ratings), "true rating")
    by_count = evidence.errors_by_popularity(counts, predicted, validation.ratings)
    return [
        Section(
            "Error by rating",
            "Held-out ratings. Every model draws predictions towards the mean: low ratings come out too high.",
            by_rating,
        ),
        Section(
            "Error by popularity",
            "Held-out ratings, by how often their item was rated in training. Rarely rated items are harder.",
            figures.group_errors(by_count, "ratings of the item in training"),
        ),
    ]


def _biases(version: ExportedVersion) -> Section:
    counts = version.tables["item_rating_counts"]
    listed = np.flatnonzero(counts >= min(_FEWEST_RATINGS_TO_LIST, int(counts.max())))
    liking, text = (
        version.tables["item_bias"][listed],
        "By learnt item bias: how much an item is liked whatever one's taste.",
    )
    if not liking.any():
        average = np.full(len(listed), version.manifest.user_count)
        liking, text = (
            version.predict(average, listed),
            "By what the model, which has no biases, predicts for the average user.",
        )
    order = np.argsort(liking, kind="stable")

    def entry(position: int) -> str:
        row = listed[position]
        return f"{version.item_titles[row]} ({liking[position]:.2f}, {counts[row]:,} ratings)"

    return Section(
        "Best and worst liked",
        f"{text} Items with at least {_FEWEST_RATINGS_TO_LIST} ratings.",
        columns=("highest", "lowest"),
        rows=[(entry(high), entry(low)) for high, low in zip(order[::-1], order, strict=True)][:_LISTED_BY_BIAS],
    )


def _map(version: ExportedVersion) -> Section:
    counts = version.tables["item_rating_counts"]
    rows = _most_rated(version, _MAPPED_ITEMS)
    coordinates, share = evidence.principal_components(version.tables["item_factors"][rows])
    return Section(
        "Map of the items",
        f"The {len(rows)} most rated items by the first two principal components of their factors: what is near "
        "is liked by the same people. Hover for titles.",
        figures.item_map(coordinates, share, [version.item_titles[row] for row in rows], counts[rows])
        if coordinates.shape[1] == 2
        else None,
    )


def _neighbours(version: ExportedVersion) -> Section:
    rows = []
    n_items = version.manifest.item_count
    for row in _most_rated(version, _KNOWN_ITEMS):
        answer = version.run(
            "similar_items",
            item_rows=np.array([row]),
            excluded_rows=np.array([n_items]),
            k=np.array([min(_NEIGHBOURS, n_items)]),
        )
        near = zip(answer["similar_rows"], answer["scores"], strict=True)
        named = [f"{version.item_titles[other]} ({score:.2f})" for other, score in near if score > -1e29]
        rows.append((version.item_titles[row], "; ".join(named)))
    text = "By cosine of the item factors, for the most rated items."
    return Section("Nearest neighbours", text, columns=("item", "nearest, with cosine"), rows=rows)


def _table(version: ExportedVersion) -> Section:
    offsets = version.tables["rated.offsets"]
    users = np.argsort(-np.diff(offsets), kind="stable")[:_TABLE_ROWS]
    items = _most_rated(version, _TABLE_COLUMNS)
    ratings = np.full((len(users), len(items)), np.nan)
    for position, user in enumerate(users):
        rated = version.tables["rated.item_rows"][offsets[user] : offsets[user + 1]]
        _, columns, places = np.intersect1d(items, rated, return_indices=True)
        ratings[position, columns] = version.tables["rated.ratings"][offsets[user] + places]
    user_ids = version.strings("user_ids")
    manifest = version.manifest
    full = manifest.rating_count / (manifest.user_count * manifest.item_count)
    return Section(
        "The table and its gaps",
        f"Training ratings of the most active users and the most rated items: even here there are gaps, and of the "
        f"whole table {full:.2%} is filled. Filling the gaps is what the model is for.",
        figures.ratings_table(
            ratings,
            [user_ids[user] for user in users],
            [version.item_titles[item] for item in items],
            manifest.rating_min,
            manifest.rating_max,
        ),
    )


def _representation(version: ExportedVersion, validation: RatingsDataset | None) -> Section:
    per_user = np.diff(version.tables["rated.offsets"])
    per_item = version.tables["item_rating_counts"]
    shown = evidence.exposure(version)
    curves = {
        "ratings, by user": evidence.lorenz(per_user, per_user),
        "ratings, by item": evidence.lorenz(per_item, per_item),
        "places in the first ten, by item": evidence.lorenz(per_item, shown),
    }
    if validation is not None and version.manifest.objective == "rating":
        predicted = version.predict(validation.user_rows, validation.item_rows)
        squared = np.bincount(
            validation.user_rows, (predicted.astype(np.float64) - validation.ratings) ** 2, len(per_user) + 1
        )
        curves["held-out squared error, by user"] = evidence.lorenz(per_user, squared[:-1])
    return Section(
        "Representation bias",
        f"A few very active users decide most of what the model learns, and recommendations feed back into the "
        f"ratings of tomorrow. Here the most active tenth of the users gave "
        f"{curves['ratings, by user'].held_by(0.1):.0%} of the ratings, and the most rated tenth of the items takes "
        f"{curves['places in the first ten, by item'].held_by(0.1):.0%} of the places in recommendations "
        f"({np.count_nonzero(shown) / len(shown):.0%} of the catalogue is recommended to anyone at all).",
        figures.lorenz_curves(curves),
    )


def _new_users(version: ExportedVersion, validation: RatingsDataset) -> list[Section]:
    if version.manifest.objective != "rating":
        return []
    errors = evidence.new_user_errors(version, validation)
    if errors is None:
        return []
    return [
        Section(
            "New users",
            f"{errors.n_users} users folded in from a few of their ratings as if they were new, judged on their "
            "held-out ratings. The item factors have seen these users' training ratings, so that this is a little "
            "better than for a stranger.",
            figures.new_user_curve(errors),
        )
    ]


def _most_rated(version: ExportedVersion, n: int) -> Int64Array:
    return np.argsort(-version.tables["item_rating_counts"], kind="stable")[:n]
