"""What each subcommand asks the server, and what it shows."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from cofactor_client._cli import tables as _tables
from cofactor_client._cli.load_test import load as run_load
from cofactor_client._cli.title_lookup import find_items, items_by_id
from cofactor_client._client import Client
from cofactor_client._request_types import ItemFilter, RecommendOptions


@dataclass(frozen=True)
class Report:
    """An answer, and how to show it to a person.

    Attributes:
        answer: what --json prints.
        tables: called only when tables are wanted, because titles may cost another call.
    """

    answer: Any
    tables: Callable[[], Iterator[RenderableType]]


def predict(client: Client, arguments: Namespace) -> Report:
    """`cofactor predict USER ITEM…`."""
    items = find_items(client, arguments.items)
    item_ids = [items[name].item_id for name in arguments.items]
    answer = client.predict(arguments.user, item_ids)
    titled = {item.item_id: item for item in items.values()}

    def tables() -> Iterator[RenderableType]:
        yield _tables.prediction_table(item_ids, answer.ratings, titled)
        yield _tables.answered_by(answer.model)

    rows = [
        {"item_id": item_id, "title": titled[item_id].title, "predicted_rating": rating}
        for item_id, rating in zip(item_ids, answer.ratings, strict=True)
    ]
    return Report({"predictions": rows, "model": answer.model}, tables)


def recommend(client: Client, arguments: Namespace) -> Report:
    """`cofactor recommend USER`."""
    options = RecommendOptions(
        filter=_item_filter(arguments),
        include_rated=arguments.include_rated,
        diversity=arguments.diversity,
        popularity_penalty=arguments.popularity_penalty,
        unknown_user="popular" if arguments.popular_if_unknown else "error",
    )
    if arguments.ranking is not None:
        options["ranking"] = arguments.ranking
    if arguments.min_rating is not None:
        options["min_predicted_rating"] = arguments.min_rating
    answer = client.recommend(arguments.user, arguments.k, **options)

    def tables() -> Iterator[RenderableType]:
        if answer.is_fallback:
            yield Text("the model does not know this user; these are for the average user", style="yellow")
        yield _tables.scored_table(answer.results, "score")
        yield _tables.answered_by(answer.model)

    return Report(answer, tables)


def similar(client: Client, arguments: Namespace) -> Report:
    """`cofactor similar ITEM…`."""
    items = find_items(client, arguments.items)
    item_ids = [item.item_id for item in items.values()]
    answer = client.similar_items(item_ids, arguments.k, filter=_item_filter(arguments))

    def tables() -> Iterator[RenderableType]:
        yield Text("similar to " + ", ".join(item.title or item.item_id for item in items.values()), style="bold")
        yield _tables.scored_table(answer.results, "similarity")
        yield _tables.answered_by(answer.model)

    return Report(answer, tables)


def embed(client: Client, arguments: Namespace) -> Report:
    """`cofactor embed --rate ITEM=RATING…`."""
    items = find_items(client, [name for name, _ in arguments.rate])
    ratings = {items[name].item_id: rating for name, rating in arguments.rate}
    newcomer = client.embed_new_user(ratings, profile=dict(arguments.profile))
    page = client.recommend(newcomer.embedding, arguments.recommend) if arguments.recommend else None

    def tables() -> Iterator[RenderableType]:
        rated = {item.item_id: item for item in items.values()}
        for item_id, rating in ratings.items():
            yield Text(f"{rating:g}  {rated[item_id].title or item_id}")
        embedding = newcomer.embedding
        yield Text(
            f"{len(embedding.factors)} factors, bias {embedding.bias:+.3f}, from {newcomer.used_rating_count} ratings, "
            f"which it fits to an RMSE of {newcomer.fit_rmse:.3f}"
        )
        if newcomer.ignored_profile_keys:
            yield Text("this model has no use for: " + ", ".join(newcomer.ignored_profile_keys), style="yellow")
        if page is not None:
            yield _tables.scored_table(page.results, "score")
        yield _tables.answered_by(newcomer.model)

    return Report({"new_user": newcomer, "recommendations": page}, tables)


def search(client: Client, arguments: Namespace) -> Report:
    """`cofactor search WORDS`."""
    answer = client.search_items(" ".join(arguments.words), arguments.k)

    def tables() -> Iterator[RenderableType]:
        yield _tables.item_table(answer.items) if answer.items else Text("no title has these words")

    return Report(answer, tables)


def top(client: Client, arguments: Namespace) -> Report:
    """`cofactor top`."""
    answer = client.top_items(arguments.order, arguments.k)

    def tables() -> Iterator[RenderableType]:
        yield _tables.item_table(answer.items)
        yield _tables.answered_by(answer.model)

    return Report(answer, tables)


def explain(client: Client, arguments: Namespace) -> Report:
    """`cofactor explain USER ITEM`."""
    item = find_items(client, [arguments.item])[arguments.item]
    answer = client.explain(arguments.user, item.item_id, max_contributions=arguments.k)

    def tables() -> Iterator[RenderableType]:
        rating = "" if answer.predicted_rating is None else f": predicted rating {answer.predicted_rating:.2f}"
        yield Text(f"{item.title or item.item_id}{rating}", style="bold")
        titles = items_by_id(client, [part.item_id for part in answer.contributions])
        yield _tables.explanation_table(answer, titles)
        yield _tables.answered_by(answer.model)

    return Report(answer, tables)


def model(client: Client, arguments: Namespace) -> Report:
    """`cofactor model` and `cofactor model --list`."""
    if arguments.list:
        models = list(client.iter_models())
        return Report(models, lambda: iter([_tables.model_table(models)]))
    description = client.get_model()
    return Report(description, lambda: iter([_tables.description_table(description)]))


def load(client: Client, arguments: Namespace) -> Report:
    """`cofactor load USER…`."""
    in_flight, rate = arguments.in_flight, arguments.rate
    client.recommend(arguments.users[0], arguments.k)  # an unknown user or no server: said before the load begins
    result = run_load(client, arguments.users, k=arguments.k, in_flight=in_flight, rate=rate, seconds=arguments.seconds)
    return Report(result, lambda: iter([_tables.load_table(result)]))


def _item_filter(arguments: Namespace) -> ItemFilter:
    return ItemFilter(
        any_genres=tuple(arguments.genre),
        excluded_genres=tuple(arguments.without_genre),
        min_release_year=arguments.from_year,
        max_release_year=arguments.to_year,
        min_rating_count=arguments.min_count,
    )
