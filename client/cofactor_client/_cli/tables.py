"""Tables of responses for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from rich import box
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from cofactor_client._catalog_types import (
    AttributeValue,
    EventType,
    Item,
    ItemAttribute,
    Model,
    ModelDescription,
    ModelEvents,
    ProfileQuestion,
    ServedModel,
)
from cofactor_client._cli.load_generator import LoadResult
from cofactor_client._response_types import Contribution, Explanation, RankingReason, RankingScore, ScoredItem

_DAY = 86_400
_SHOWN_EXAMPLES = 3
_ITEM_COLUMNS = ("title", "year", "genres", "ratings")
_NUMBERS = {
    "#",
    "year",
    "ratings",
    "rated",
    "weight",
    "predicted",
    "score",
    "similarity",
    "bias",
    "adds",
    "users",
    "items",
}


class FeedbackWords(NamedTuple):
    """Words for what an explanation is about.

    Attributes:
        number: heading of the numbers.
        others: what the others are called.
    """

    number: str
    others: str


RATINGS = FeedbackWords("rated", "other ratings")
EVENTS = FeedbackWords("weight", "other items")


def scored_table(results: Iterable[ScoredItem], score_name: str) -> Table:
    """Build a table of ranked items with their scores, and their probabilities and rules, if any have some."""
    rows: list[tuple[str | Text, ...]] = []
    results = list(results)
    has_rules = any(scored.applied_rules for scored in results)
    has_probabilities = any(scored.probability is not None for scored in results)
    for rank, scored in enumerate(results, start=1):
        predicted = "" if scored.predicted_rating is None else f"{scored.predicted_rating:.2f}"
        probable = "" if scored.probability is None else f"{scored.probability:.1%}"
        numbers: tuple[str, ...] = (predicted, f"{scored.score:.3f}", *[probable] * has_probabilities)
        cells: tuple[str | Text, ...] = (str(rank), *_item_cells(scored.item), *numbers, _text(scored.item_id))
        rows.append((*cells, *map(_text, [_rule_names(scored)] * has_rules)))
    names = ("predicted", score_name, *["probability"] * has_probabilities)
    return _table(("#", *_ITEM_COLUMNS, *names, "id", *["rules"] * has_rules), rows)


def _rule_names(scored: ScoredItem) -> str:
    return ", ".join(f"{rule.kind} {rule.name}" for rule in scored.applied_rules)


def item_table(items: Iterable[Item]) -> Table:
    """Build a table of items of the catalogue."""
    rows = [
        (str(rank), *_item_cells(item), f"{item.bias:+.3f}", _text(item.item_id))
        for rank, item in enumerate(items, start=1)
    ]
    return _table(("#", *_ITEM_COLUMNS, "bias", "id"), rows)


def prediction_table(rated: Iterable[tuple[Item, float]]) -> Table:
    """Build a table of items with their predicted ratings."""
    rows = [(*_item_cells(item), f"{rating:.2f}", _text(item.item_id)) for item, rating in rated]
    return _table((*_ITEM_COLUMNS, "predicted", "id"), rows)


def load_table(result: LoadResult) -> Table:
    """Build a table of the throughput, latency and failures of a load."""
    rows = [("succeeded", f"{result.calls:,} in {result.seconds:.1f} s, {result.calls_per_second:,.0f} per second")]
    rows += [(f"latency, {name}", f"{latency:.2f} ms") for name, latency in result.latency_ms.items()]
    rows += [(f"failed, {reason}", f"{count:,}") for reason, count in sorted(result.failures.items())]
    return _table(("load", ""), rows)


def ranking_table(
    ranking: RankingScore, ranking_score: float, items: Mapping[str, Item], words: FeedbackWords = RATINGS
) -> Table:
    """Build a table of the parts that add up to the score that orders recommendations, the reasons among them."""
    rows: list[tuple[str | Text, ...]] = [
        ("item, for the average user", "", f"{ranking.item_part:+.3f}"),
        ("user, for all items alike", "", f"{ranking.user_part:+.3f}"),
    ]
    for reason in ranking.reasons:
        similar = reason.similar_rating_count
        rows.append(_because_of(reason, items, f" and {similar:,} similar" if similar else ""))
    rows += [
        (f"{ranking.other_rating_count:,} {words.others}", "", f"{ranking.other_part:+.3f}"),
        ("unexplained", "", f"{ranking.unexplained:+.3f}"),
        ("ranking score", "", f"{ranking_score:+.3f}"),
    ]
    return _table(("place in the list", words.number, "adds"), rows)


def explanation_table(explanation: Explanation, items: Mapping[str, Item], words: FeedbackWords = RATINGS) -> Table:
    """Build a table of the parts that add up to the logit of the prediction, and of the score that it is a part of."""
    rows: list[tuple[str | Text, ...]] = [
        ("global bias", "", f"{explanation.global_bias:+.3f}"),
        ("user bias", "", f"{explanation.user_bias:+.3f}"),
        ("item bias", "", f"{explanation.item_bias:+.3f}"),
        ("average taste for it", "", f"{explanation.average_interaction:+.3f}"),
    ]
    rows += [_because_of(part, items) for part in explanation.contributions]
    others = f"{explanation.other_rating_count:,} {words.others}"
    rows.append((others, "", f"{explanation.other_contributions:+.3f}"))
    rest = explanation.remainder - explanation.average_interaction - explanation.other_contributions
    rows.append(("unexplained", "", f"{rest:+.3f}"))
    rows.append(("score", "", f"{explanation.score:+.3f}"))
    rows += _ranking_rows(explanation)
    return _table(("part", words.number, "adds"), rows)


def _ranking_rows(explanation: Explanation) -> Iterator[tuple[str, str, str]]:
    """Yield the terms of the ranking score, which servers of 0.1 do not send."""
    ranking = explanation.ranking
    if ranking is None:
        return
    if (ranking.rating_weight, ranking.ranking_weight) != (1.0, 0.0):
        yield f"{ranking.rating_weight:.3g} * score", "", f"{ranking.rating_weight * explanation.score:+.3f}"
        yield (
            f"{ranking.ranking_weight:.3g} * ranking part",
            "",
            f"{ranking.ranking_weight * ranking.ranking_logit:+.3f}",
        )
    yield "popularity", "", f"{explanation.popularity:+.3f}"
    yield "ranking score", "", f"{explanation.ranking_score:+.3f}"


def _because_of(
    part: Contribution | RankingReason, items: Mapping[str, Item], suffix: str = ""
) -> tuple[str | Text, ...]:
    item = items.get(part.item_id)
    title = item.title if item and item.title else part.item_id
    weight = part.event_weight if isinstance(part, RankingReason) else 0.0
    return _text(f"because of {title}{suffix}"), f"{weight or part.rating:g}", f"{part.contribution:+.3f}"


def description_table(description: ModelDescription) -> Table:
    """Build a table that describes one model and the server's limits."""
    model, limits = description.model, description.limits
    table = Table(box=None, show_header=False, pad_edge=False)
    rows: dict[str, str] = {
        "model": f"{model.name} {model.version}",
        "labels": ", ".join(model.labels),
        "state": f"{model.state} {model.state_message}".strip(),
        "architecture": f"{model.architecture}, {model.factor_count} factors, objective {model.objective}",
        "data": f"{model.dataset}: {model.user_count:,} users, {model.item_count:,} items",
        "rating scale": "" if model.events else f"{model.rating_min:g} to {model.rating_max:g}",
        **_event_rows(model.events),
        "runs on": ", ".join(model.execution_providers),
        "new users": "yes" if model.supports_new_users else "no",
        "new items": "yes" if model.supports_new_items else "no",
        "ranking part": "yes" if model.has_ranking_part else "no",
        "profile": ", ".join(
            map(_question, model.profile_questions) if model.profile_questions else model.profile_keys
        ),
        "attributes": ", ".join(map(_attribute, model.attributes)),
        "metrics": ", ".join(f"{name} {value:.4f}" for name, value in sorted(model.metrics.items())),
        "measured": model.metrics_protocol.removeprefix("measured "),
        "trained": _time(model.train_time),
        "loaded": _time(model.load_time),
        "embedding space": model.embedding_space,
        "limits": f"{limits.max_page_size:,} results, {limits.max_items_per_request:,} items, "
        f"{limits.max_requests_per_batch:,} requests in a batch, {limits.max_queue_size:,} queued calls"
        + (f", responses of {limits.max_response_bytes / 2**20:g} MiB" if limits.max_response_bytes else ""),
    }
    for name, value in rows.items():
        if value:
            table.add_row(Text(name, style="bold"), _text(value))
    return table


def _question(question: ProfileQuestion) -> str:
    """Describe a sign-up answer by its key, and its range or some of its values."""
    details = ", ".join(map(repr, question.answers[:_SHOWN_EXAMPLES]))
    if len(question.answers) > _SHOWN_EXAMPLES:
        details += f" and {len(question.answers) - _SHOWN_EXAMPLES} more"
    if question.lowest is not None and question.highest is not None:
        details = f"{question.lowest:g} to {question.highest:g}"
    return f"{question.key} ({details})" if details else question.key


def _attribute(attribute: ItemAttribute) -> str:
    """Describe an attribute by its name, its type and its range or some of its values."""
    details = ", ".join(map(repr, attribute.examples[:_SHOWN_EXAMPLES]))
    if attribute.lowest is not None and attribute.highest is not None:
        details = f"{_plain(attribute.lowest)} to {_plain(attribute.highest)}"
    return f"{attribute.name} ({attribute.type}{': ' if details else ''}{details})"


def _plain(value: AttributeValue) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _event_rows(events: ModelEvents | None) -> dict[str, str]:
    if events is None:
        return {}
    rules = [f"half-life {events.half_life_seconds / _DAY:g} days"] if events.half_life_seconds else []
    rules += ["logarithm of the sum"] if events.log_weights else []
    rules += [f"at most {events.weight_cap:g}"] if events.weight_cap else []
    return {
        "events": ", ".join(map(_event_type, events.types)),
        "weights": ", ".join(rules),
        "newest event": _time(events.newest_event_time),
    }


def _event_type(kind: EventType) -> str:
    weight = "negative" if kind.negative else f"weight {kind.weight:g}"
    return f"{kind.event_count:,} {kind.name}".strip() + f" ({weight})"


def model_table(models: Iterable[Model]) -> Table:
    """Build a table of model versions."""
    rows = [
        (
            _text(model.name),
            _text(model.version),
            _text(", ".join(model.labels)),
            model.state,
            model.architecture,
            model.objective,
            _text(", ".join(kind.name for kind in model.events.types) or "events" if model.events else ""),
            f"{model.user_count:,}",
            f"{model.item_count:,}",
            _time(model.train_time),
        )
        for model in models
    ]
    return _table(
        ("name", "version", "labels", "state", "architecture", "objective", "events", "users", "items", "trained"), rows
    )


def served_by(model: ServedModel) -> Text:
    """Return the line below a table that names the model."""
    return Text(f"served by {model.name} {model.version} on {model.execution_provider}", style="dim")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> Table:
    """Build a table, without the columns that are empty."""
    filled = [column for column in range(len(columns)) if not rows or any(row[column] for row in rows)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in filled:
        justify: JustifyMethod = "right" if columns[column] in _NUMBERS else "left"
        table.add_column(columns[column], justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(row[column] for column in filled))
    return table


def _item_cells(item: Item | None) -> tuple[Text, str, Text, str]:
    if item is None:
        return Text(), "", Text(), ""
    year = str(item.release_year or "")
    return _text(item.title), year, _text(", ".join(item.genres)), f"{item.rating_count:,}"


def _text(text: str) -> Text:
    """Make text safe for a cell: square brackets are not read as markup, control characters are replaced."""
    return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def _time(time: datetime | None) -> str:
    return "" if time is None else f"{time:%Y-%m-%d %H:%M} UTC"
