"""Answers as tables on a terminal, or as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cofactor_client._cli.load_test import LoadResult
from cofactor_client._response_types import Explanation, Item, Model, ModelDescription, ScoredItem, ServedModel


def as_json(answer: Any) -> str:
    """A result as JSON; NaN becomes null, times ISO 8601."""
    return json.dumps(_plain(answer), ensure_ascii=False, indent=2, allow_nan=False)


def scored_table(results: Iterable[ScoredItem], score_name: str) -> Table:
    """Ranked items with their scores."""
    rows = []
    for rank, scored in enumerate(results, start=1):
        predicted = "" if scored.predicted_rating is None else f"{scored.predicted_rating:.2f}"
        rows.append((str(rank), *_attributes(scored.item), predicted, f"{scored.score:.3f}", _text(scored.item_id)))
    return _table(("#", *_ATTRIBUTES, "predicted", score_name, "id"), rows)


def item_table(items: Iterable[Item]) -> Table:
    """Items of the catalogue."""
    rows = [
        (str(rank), *_attributes(item), f"{item.bias:+.3f}", _text(item.item_id))
        for rank, item in enumerate(items, start=1)
    ]
    return _table(("#", *_ATTRIBUTES, "bias", "id"), rows)


def prediction_table(item_ids: Iterable[str], ratings: Iterable[float], items: Mapping[str, Item]) -> Table:
    """Predicted ratings, in the order asked for."""
    rows = [
        (*_attributes(items.get(item_id)), f"{rating:.2f}", _text(item_id))
        for item_id, rating in zip(item_ids, ratings, strict=True)
    ]
    return _table((*_ATTRIBUTES, "predicted", "id"), rows)


def load_table(result: LoadResult) -> Table:
    """Rate, latency and failures of a load."""
    rows = [("answered", f"{result.calls:,} in {result.seconds:.1f} s, {result.calls_per_second:,.0f} a second")]
    rows += [(f"latency, {name}", f"{latency:.2f} ms") for name, latency in result.latency_ms.items()]
    rows += [(f"failed, {reason}", f"{count:,}") for reason, count in sorted(result.failures.items())]
    return _table(("load", ""), rows)


def explanation_table(explanation: Explanation, items: Mapping[str, Item]) -> Table:
    """What a prediction's score is the sum of."""
    rows: list[tuple[str | Text, ...]] = [
        ("everyone, everything", "", f"{explanation.global_bias:+.3f}"),
        ("this user, whatever the item", "", f"{explanation.user_bias:+.3f}"),
        ("this item, whoever the user", "", f"{explanation.item_bias:+.3f}"),
    ]
    for part in explanation.contributions:
        item = items.get(part.item_id)
        title = item.title if item and item.title else part.item_id
        rows.append((_text(f"because of {title}"), f"{part.rating:g}", f"{part.contribution:+.3f}"))
    rows.append(("everything else in common", "", f"{explanation.remainder:+.3f}"))
    rows.append(("score", "", f"{explanation.score:+.3f}"))
    return _table(("part", "rated", "adds"), rows)


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
    rows = [
        (
            _text(model.name),
            _text(model.version),
            _text(", ".join(model.labels)),
            model.state,
            model.architecture,
            f"{model.user_count:,}",
            f"{model.item_count:,}",
            _time(model.train_time),
        )
        for model in models
    ]
    return _table(("name", "version", "labels", "state", "architecture", "users", "items", "trained"), rows)


def answered_by(model: ServedModel) -> Text:
    """The line below a table."""
    return Text(f"answered by {model.name} {model.version} on {model.execution_provider}", style="dim")


def console() -> Console:
    """Standard output: colours on a terminal; 160 columns in a file, where there is no width to respect."""
    output = Console(highlight=False)
    return output if output.is_terminal else Console(highlight=False, width=160)


_ATTRIBUTES = ("title", "year", "genres", "ratings")
_RIGHT = {"#", "year", "ratings", "rated", "predicted", "score", "similarity", "bias", "adds", "users", "items"}


def _table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> Table:
    """The rows, without columns in which nothing stands."""
    filled = [column for column in range(len(columns)) if not rows or any(row[column] for row in rows)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in filled:
        table.add_column(columns[column], justify="right" if columns[column] in _RIGHT else "left", overflow="fold")
    for row in rows:
        table.add_row(*(row[column] for column in filled))
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
