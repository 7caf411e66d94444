"""Draw the figures of the report with plotly; they need no network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from cofactor.v1 import manifest_pb2
from cofactor_trainer.evaluation.error_groups import Float64Array, GroupErrors
from cofactor_trainer.evaluation.lorenz_curve import LorenzCurve
from cofactor_trainer.evaluation.new_users import NewUserErrors
from cofactor_trainer.report.map_labels import OTHER_GENRES, choose_labels

_LAYOUT = {
    "template": "plotly_white",
    "margin": {"l": 60, "r": 20, "t": 20, "b": 50},
    "height": 380,
    "legend": {"orientation": "h", "y": 1.08},
    "colorway": ["#2563a8", "#c2571a", "#3f8f4f", "#7a4fa3"],
}

_GROUP_COLOURS = ["#2563a8", "#c2571a", "#3f8f4f", "#7a4fa3", "#b8860b", "#c2185b", "#00838f", "#888888"]


def loss_curves(epochs: Sequence[manifest_pb2.Epoch]) -> go.Figure:
    """Draw training and validation loss by epoch."""
    numbers = [epoch.number for epoch in epochs]
    figure = go.Figure(go.Scatter(x=numbers, y=[epoch.train_loss for epoch in epochs], name="training"))
    if any(epoch.HasField("validation_loss") for epoch in epochs):
        figure.add_scatter(x=numbers, y=[epoch.validation_loss for epoch in epochs], name="validation")
    return _laid_out(figure, "epoch", "loss", xaxis_dtick=1 if len(numbers) <= 20 else None)


def group_errors(errors: GroupErrors, group_title: str) -> go.Figure:
    """Draw root mean squared error and mean error of every group; hovering shows its number of ratings."""
    counts = [f"{count:,} ratings" for count in errors.counts]
    figure = go.Figure(go.Bar(x=errors.labels, y=errors.rmse, name="root mean squared error", text=counts))
    figure.add_scatter(
        x=errors.labels, y=errors.mean_error, name="mean error (predicted less true)", mode="lines+markers"
    )
    figure.update_traces(textposition="none", hovertemplate="%{x}: %{y:.3f}<br>%{text}", selector={"type": "bar"})
    return _laid_out(figure, group_title, "error", xaxis_type="category")


def item_map(
    coordinates: Float64Array,
    share: Float64Array,
    titles: Sequence[str],
    counts: npt.NDArray[np.int64],
    groups: Sequence[str],
    n_named: int = 20,
) -> go.Figure:
    """Draw items on their first two principal components, one colour for each group.

    coordinates (n, 2), share (2,) of the variance, titles, counts and groups (n,), the most rated item first. Up to
    n_named of the first items have their titles, as far as these do not overlap.
    """
    names = [_shortened(title) for title in titles]
    shown = choose_labels(coordinates, names, n_named)
    labels = np.array([name if is_shown else "" for name, is_shown in zip(names, shown, strict=True)], dtype=object)
    sizes = 6 + 14 * np.sqrt(counts / max(counts.max(), 1))
    hover = np.column_stack([np.asarray(titles, dtype=object), counts])
    figure = go.Figure()
    for group in sorted(set(groups), key=lambda name: (name == OTHER_GENRES, name)):
        members = np.flatnonzero(np.asarray(groups, dtype=object) == group)
        figure.add_scatter(
            x=coordinates[members, 0],
            y=coordinates[members, 1],
            name=group,
            mode="markers+text",
            text=labels[members],
            textposition="top center",
            textfont={"size": 10, "color": "#333"},
            customdata=hover[members],
            hovertemplate="%{customdata[0]}<br>%{customdata[1]:,} ratings<extra></extra>",
            marker={"size": sizes[members], "opacity": 0.55},
        )
    figure.update_layout(showlegend=len(set(groups)) > 1)
    x, y = (f"principal component {i + 1} ({part:.0%} of the variance)" for i, part in enumerate(share))
    return _laid_out(figure, x, y, height=620, colorway=_GROUP_COLOURS)


def ratings_table(
    ratings: Float64Array, user_ids: Sequence[str], titles: Sequence[str], low: float, high: float
) -> go.Figure:
    """Draw ratings (n_users, n_items) as a heat map; NaN is a missing rating, low to high is the scale."""
    text = np.where(np.isnan(ratings), "", np.char.mod("%g", ratings))
    figure = go.Figure(
        go.Heatmap(
            z=ratings,
            x=[_shortened(title) for title in titles],
            y=[f"user {user_id}" for user_id in user_ids],
            text=text,
            texttemplate="%{text}",
            customdata=np.broadcast_to(np.asarray(titles, dtype=object), ratings.shape),
            hovertemplate="%{y}, %{customdata}: %{z}<extra></extra>",
            hoverongaps=False,
            colorscale="Blues",
            zmin=low,
            zmax=high,
        )
    )
    return _laid_out(figure, None, None, height=560, yaxis_autorange="reversed", xaxis_tickangle=-40, margin_b=150)


def lorenz_curves(curves: dict[str, LorenzCurve]) -> go.Figure:
    """Draw named Lorenz curves, and the diagonal of equal shares."""
    figure = go.Figure()
    for name, curve in curves.items():
        step = max(1, len(curve.population) // 400)
        figure.add_scatter(x=curve.population[::step], y=curve.held[::step], name=name, mode="lines")
    figure.add_scatter(x=[0, 1], y=[0, 1], name="equal shares", mode="lines", line={"dash": "dot", "color": "#999"})
    figure.update_xaxes(tickformat=".0%")
    figure.update_yaxes(tickformat=".0%")
    return _laid_out(figure, "share of the users or items, most active or most rated first", "share of the total")


def new_user_curve(errors: NewUserErrors) -> go.Figure:
    """Draw the error for a new user by the number of ratings given."""
    figure = go.Figure(go.Scatter(x=[str(n) for n in errors.n_ratings], y=errors.rmse, mode="lines+markers"))
    return _laid_out(figure, "ratings given", "root mean squared error", xaxis_type="category")


def _laid_out(figure: go.Figure, x_title: str | None, y_title: str | None, **layout: object) -> go.Figure:
    return figure.update_layout(**_LAYOUT, xaxis_title=x_title, yaxis_title=y_title).update_layout(**layout)


def _shortened(title: str, length: int = 24) -> str:
    return title if len(title) <= length else title[: length - 1] + "…"
