"""Answers as tables on a terminal, or as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cofactor_client._types import Explanation, Item, Model, ModelDescription, ScoredItem, ServedModel


def as_json(answer: Any) -> str:
    """A result as JSON; NaN becomes null, times ISO 8601."""
    return json.dumps(_plain(answer), ensure_ascii=False, indent=2, allow_nan=False)


def scored_table(results: Iterable[ScoredItem], score_name: str) -> Table:
    """Ranked items with their scores."""
    table = _table("#", "title", "year", "genres", "rated", "predicted", score_name, "id")
    for rank, scored in enumerate(results, start=1):
        predicted = "" if scored.predicted_rating is None else f"{scored.predicted_rating:.2f}"
        table.add_row(str(rank), *_attributes(scored.item), predicted, f"{scored.score:.3f}", _text(scored.item_id))
    return _without_empty_columns(table)


def item_table(items: Iterable[Item]) -> Table:
    """Items of the catalogue."""
    table = _table("#", "title", "year", "genres", "rated", "bias", "id")
    for rank, item in enumerate(items, start=1):
        table.add_row(str(rank), *_attributes(item), f"{item.bias:+.3f}", _text(item.item_id))
    return _without_empty_columns(table)


def prediction_table(item_ids: Iterable[str], ratings: Iterable[float], items: Mapping[str, Item]) -> Table:
    """Predicted ratings, in the order asked for."""
    table = _table("title", "year", "genres", "rated", "predicted", "id")
    for item_id, rating in zip(item_ids, ratings, strict=True):
        table.add_row(*_attributes(items.get(item_id)), f"{rating:.2f}", _text(item_id))
    return _without_empty_columns(table)


def explanation_table(explanation: Explanation, items: Mapping[str, Item]) -> Table:
    """What a prediction's score is the sum of."""
    table = _table("part", "you rated", "adds")
    table.add_row("everyone, everything", "", f"{explanation.global_bias:+.3f}")
    table.add_row("this user, whatever the item", "", f"{explanation.user_bias:+.3f}")
    table.add_row("this item, whoever the user", "", f"{explanation.item_bias:+.3f}")
    for part in explanation.contributions:
        item = items.get(part.item_id)
        title = item.title if item and item.title else part.item_id
        table.add_row(_text(f"because of {title}"), f"{part.rating:g}", f"{part.contribution:+.3f}")
    table.add_row("everything else in common", "", f"{explanation.remainder:+.3f}", end_section=True)
    table.add_row("score", "", f"{explanation.score:+.3f}")
    return table


def description_table(description: ModelDescription) -> Table:
    """One model and the server's limits."""
    model, limits = description.model, description.limits
    table = Table(box=None, show_header=False, pad_edge=False)
    rows: dict[str, str] = {
        "model": f"{model.name} {model.version}",
        "labels": ", ".join(model.labels),
        "state": f"{model.state} {model.state_message}".strip(),
        "architecture": f"{model.architecture}, {model.factor_count} factors, for {model.objective}",
        "data": f"{model.dataset}: {model.user_count:,} users, {model.item_count:,} items",
        "ratings": f"{model.rating_min:g} to {model.rating_max:g}",
        "runs on": ", ".join(model.execution_providers),
        "new users": "yes" if model.supports_new_users else "no",
        "profile": ", ".join(model.profile_keys),
        "metrics": ", ".join(f"{name} {value:.4f}" for name, value in sorted(model.metrics.items())),
        "trained": _time(model.train_time),
        "loaded": _time(model.load_time),
        "space": model.embedding_space,
        "limits": f"{limits.max_page_size:,} results, {limits.max_items_per_request:,} items, "
        f"{limits.max_requests_per_batch:,} requests in a batch, {limits.max_queue_size:,} waiting calls",
    }
    for name, value in rows.items():
        if value:
            table.add_row(Text(name, style="bold"), _text(value))
    return table


def model_table(models: Iterable[Model]) -> Table:
    """Every model version that a server holds."""
    table = _table("name", "version", "labels", "state", "architecture", "users", "items", "trained")
    for model in models:
        counts = f"{model.user_count:,}", f"{model.item_count:,}"
        names = (_text(text) for text in (model.name, model.version, ", ".join(model.labels)))
        table.add_row(*names, model.state, model.architecture, *counts, _time(model.train_time))
    return _without_empty_columns(table)


def answered_by(model: ServedModel) -> Text:
    """The line below a table."""
    return Text(f"answered by {model.name} {model.version} on {model.execution_provider}", style="dim")


def console() -> Console:
    """Standard output: colours on a terminal; 160 columns in a file, where there is no width to respect."""
    output = Console(highlight=False)
    return output if output.is_terminal else Console(highlight=False, width=160)


_RIGHT = {"#", "year", "rated", "predicted", "score", "similarity", "bias", "adds", "you rated", "users", "items"}


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in _RIGHT else "left", overflow="fold")
    return table


def _without_empty_columns(table: Table) -> Table:
    table.columns = [column for column in table.columns if any(str(cell) for cell in column.cells)] or table.columns
    return table


def _attributes(item: Item | None) -> tuple[Text, str, Text, str]:
    if item is None:
        return Text(), "", Text(), ""
    year = str(item.release_year or "")
    return _text(item.title), year, _text(", ".join(item.genres)), f"{item.rating_count:,}"


def _text(text: str) -> Text:
    """Titles may hold square brackets, which rich would take for markup, and control characters."""
    return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def _time(time: datetime | None) -> str:
    return "" if time is None else f"{time:%Y-%m-%d %H:%M} UTC"


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
