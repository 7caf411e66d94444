"""Subcommands that call the recommender: each makes its calls and returns their output."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence

from rich.console import RenderableType
from rich.text import Text

from cofactor_client._catalog_types import Item
from cofactor_client._cli import options, tables
from cofactor_client._cli.genre_lookup import check_genres
from cofactor_client._cli.load_generator import generate_load
from cofactor_client._cli.output import Output
from cofactor_client._cli.title_lookup import UnknownNameError, find_items, items_by_id
from cofactor_client._client import Client
from cofactor_client._request_types import Event, RatingHistory, UserLike


def predict(client: Client, arguments: Namespace) -> Output:
    """Run `cofactor predict USER ITEM…`."""
    found = find_items(client, arguments.items)
    items = [found[name] for name in arguments.items]
    predictions = client.predict(arguments.user, [item.item_id for item in items])
    rated = list(zip(items, predictions, strict=True))

    def show() -> Iterator[RenderableType]:
        yield tables.prediction_table(rated)
        yield tables.served_by(predictions.model)

    rows = [{"item_id": item.item_id, "title": item.title, "predicted_rating": rating} for item, rating in rated]
    return Output({"predictions": rows, "model": predictions.model}, show)


def recommend(client: Client, arguments: Namespace) -> Output:
    """Run `cofactor recommend USER` or `cofactor recommend --event ITEM…`."""
    if arguments.user is None and not arguments.event:
        raise options.UsageError("the following arguments are required: USER, or --event ITEM for a new user")
    if arguments.user is not None and arguments.event:
        raise options.UsageError("USER and --event: give only one of them; --event is for a new user")
    check_genres(client, arguments.genre + arguments.without_genre)
    user: UserLike = arguments.user or RatingHistory(events=_events(client, arguments)[0])
    page = client.recommend(user, arguments.k, **options.recommend_options(arguments))

    def show() -> Iterator[RenderableType]:
        if page.is_fallback:
            yield Text("the model does not know this user; these items are for the average user", style="yellow")
        yield tables.scored_table(page.results, "score")
        yield tables.served_by(page.model)

    return Output(page, show)


def similar(client: Client, arguments: Namespace) -> Output:
    """Run `cofactor similar ITEM…`."""
    check_genres(client, arguments.genre + arguments.without_genre)
    items = find_items(client, arguments.items).values()
    page = client.similar_items([item.item_id for item in items], arguments.k, filter=options.item_filter(arguments))

    def show() -> Iterator[RenderableType]:
        yield Text("similar to " + ", ".join(item.title or item.item_id for item in items), style="bold")
        yield tables.scored_table(page.results, "similarity")
        yield tables.served_by(page.model)

    return Output(page, show)


def embed(client: Client, arguments: Namespace) -> Output:
    """Run `cofactor embed --rate ITEM=RATING…` or `cofactor embed --event ITEM…`."""
    items = find_items(client, [name for name, _ in arguments.rate])
    ratings = _rating_by_id(items, arguments.rate)
    events, event_items = _events(client, arguments)
    new_user = client.embed_new_user(ratings, events=events, profile=dict(arguments.profile))
    page = client.recommend(new_user.embedding, arguments.recommend) if arguments.recommend else None

    def show() -> Iterator[RenderableType]:
        titles = {item.item_id: item.title or item.item_id for item in (*items.values(), *event_items.values())}
        for item_id, rating in ratings.items():
            yield Text(f"{rating:g}  {titles[item_id]}")
        for event in events:
            yield Text(f"{event.count:g}  {event.event_type}  {titles[event.item_id]}".replace("    ", "  "))
        embedding = new_user.embedding
        source = f"{new_user.used_rating_count} ratings with an RMSE of {new_user.fit_rmse:.3f}"
        if events and ratings:
            source += f", and {new_user.used_event_count} events"
        elif events:
            source = f"{new_user.used_event_count} events"
        yield Text(f"{len(embedding.factors)} factors, bias {embedding.bias:+.3f}, from {source}")
        if new_user.ignored_profile_keys:
            yield Text("this model does not use: " + ", ".join(new_user.ignored_profile_keys), style="yellow")
        if page is not None:
            yield tables.scored_table(page.results, "score")
        yield tables.served_by(new_user.model)

    return Output({"new_user": new_user, "recommendations": page}, show)


def _events(client: Client, arguments: Namespace) -> tuple[list[Event], Mapping[str, Item]]:
    """Return the events of --event, and their items by the names on the command line."""
    items = find_items(client, [name for name, _, _ in arguments.event])
    return [Event(items[name].item_id, kind, count) for name, kind, count in arguments.event], items


def _rating_by_id(items: Mapping[str, Item], rated: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Return item id -> rating. Raises UnknownNameError if two names mean the same item."""
    ratings: dict[str, float] = {}
    for name, rating in rated:
        item = items[name]
        if item.item_id in ratings:
            raise UnknownNameError(
                f"--rate: {name!r} and another name both mean {item.title or item.item_id!r} (id {item.item_id}); "
                "rate each item once"
            )
        ratings[item.item_id] = rating
    return ratings


def search(client: Client, arguments: Namespace) -> Output:
    """Run `cofactor search WORD…`."""
    page = client.search_items(" ".join(arguments.words), arguments.k)

    def show() -> Iterator[RenderableType]:
        yield tables.item_table(page.items) if page.items else Text("no title has all of these words")

    return Output(page, show)


def top(client: Client, arguments: Namespace) -> Output:
    """Run `cofactor top`."""
    page = client.top_items(arguments.order, arguments.k)

    def show() -> Iterator[RenderableType]:
        yield tables.item_table(page.items)
        yield tables.served_by(page.model)

    return Output(page, show)


def explain(client: Client, arguments: Namespace) -> Output:
    """Run `cofactor explain USER ITEM`."""
    item = find_items(client, [arguments.item])[arguments.item]
    explanation = client.explain(
        arguments.user,
        item.item_id,
        max_contributions=arguments.k,
        ranking=arguments.ranking,
        popularity_penalty=arguments.popularity_penalty,
    )
    ranking = explanation.ranking

    def show() -> Iterator[RenderableType]:
        predicted = explanation.predicted_rating
        rating = "" if predicted is None else f": predicted rating {predicted:.2f}"
        yield Text(f"{item.title or item.item_id}{rating}", style="bold")
        rated_ids = [part.item_id for part in explanation.contributions]
        rated_ids += [reason.item_id for reason in ranking.reasons] if ranking else []
        items = items_by_id(client, list(dict.fromkeys(rated_ids)))
        kind = tables.EVENTS if client.get_model().model.events else tables.RATINGS
        if ranking is not None:
            yield tables.ranking_table(ranking, explanation.ranking_score, items, kind)
        # What a model that learnt from both predicts comes from the ratings.
        yield tables.explanation_table(explanation, items, kind if predicted is None else tables.RATINGS)
        yield tables.served_by(explanation.model)

    return Output(explanation, show)


def model(client: Client, arguments: Namespace) -> Output:
    """Run `cofactor model` or `cofactor model --list`."""
    if arguments.list:
        models = list(client.iter_models())
        return Output(models, lambda: iter([tables.model_table(models)]))
    description = client.get_model()
    return Output(description, lambda: iter([tables.description_table(description)]))


def load(client: Client, arguments: Namespace) -> Output:
    """Run `cofactor load USER…`."""
    client.recommend(arguments.users[0], arguments.k)  # fail now if the user is unknown or no server is reachable
    result = generate_load(
        client,
        arguments.users,
        k=arguments.k,
        in_flight=arguments.in_flight,
        rate=arguments.rate,
        seconds=arguments.seconds,
    )
    return Output(result, lambda: iter([tables.load_table(result)]))


def health(client: Client, arguments: Namespace) -> Output:
    """Run `cofactor health`. Raises UnavailableError if no server was healthy within --timeout seconds."""
    client.wait_until_ready(arguments.timeout)

    def show() -> Iterator[RenderableType]:
        yield Text(f"{arguments.address} is serving")

    return Output({"address": arguments.address, "status": "SERVING"}, show)
