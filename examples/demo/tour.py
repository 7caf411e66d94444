"""A tour of the API: call every RPC once and print its response."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from itertools import islice

import numpy as np
import pandas as pd
from rich.text import Text

from cofactor_client import Client, EntryError, Item, ItemFilter, ScoredItem, UserEmbedding, recommend_request
from examples.demo.display import console, show_items, show_scored, show_table
from examples.demo.newcomers import show_newcomers

USER = "15"
FIVE_RATINGS = (
    ("Star Wars: Episode IV - A New Hope", 5.0),
    ("The Matrix", 5.0),
    ("Blade Runner", 4.5),
    ("Pretty Woman", 2.0),
    ("The Notebook", 1.5),
)


def tour(client: Client, held_out: pd.DataFrame) -> None:
    """Call every RPC. held_out has the columns user_id, item_id and rating."""
    _describe_models(client)
    _browse_catalogue(client)
    top = client.recommend(USER, 10)
    show_scored(f"Recommend, top 10 for user {USER}", top, "score")
    _predict(client, held_out)
    toy_story = client.search_items("toy story", 1).items[0]
    similar = client.similar_items(toy_story.item_id, 5, filter=ItemFilter(min_rating_count=20))
    show_scored(f"SimilarItems, most similar to {toy_story.title}", similar, "cosine")
    _explain(client, top.results[0])
    new_user = _embed_new_user(client)
    if client.get_model().model.supports_new_items:  # networks do not
        _embed_new_item(client)
    show_newcomers(client)
    _batch(client, new_user)
    _stream(client, held_out["user_id"].unique().tolist())


def suggest_commands(address: str) -> None:
    """Print commands to try on the running server."""
    for command in (
        f"cofactor recommend {USER} --address {address}",
        f"cofactor similar 'Toy Story' --address {address}",
        f"cofactor embed --rate 'Toy Story=5' --rate 'Alien=2' --recommend 10 --address {address}",
        f"cofactor search star wars --address {address}",
        f"cofactor model --address {address} --model neural-net",
    ):
        console.print(f"  .venv/bin/{command}", soft_wrap=True)


def _describe_models(client: Client) -> None:
    model = client.get_model().model
    console.print(
        f"GetModel: {model.name} {model.version}, {model.architecture}, {model.factor_count} factors, "
        f"{model.user_count:,} users, {model.item_count:,} items, on {model.execution_providers[0]}"
    )
    console.print("ListModels: " + ", ".join(f"{m.name} {m.version} ({m.state})" for m in client.iter_models()))


def _browse_catalogue(client: Client) -> None:
    show_items("SearchItems, 'star wars'", client.search_items("star wars", 3))
    show_items("ListTopItems, most rated", client.top_items("most-rated", 5))
    best = (item for item in client.iter_top_items("highest-bias") if item.rating_count >= 50)
    show_items("ListTopItems, highest bias of the items with at least 50 ratings", islice(best, 5))


def _predict(client: Client, held_out: pd.DataFrame) -> None:
    """Compare predictions with the true held-out ratings, for one user and for all."""
    of_user = held_out[held_out["user_id"] == USER].head(8)
    predictions = client.predict(USER, of_user["item_id"])
    items = _items_by_id(client, of_user["item_id"])
    rows = [
        (items[item_id].title, f"{predicted:.2f}", f"{true:g}", f"{predicted - true:+.2f}")
        for item_id, predicted, true in zip(of_user["item_id"], predictions, of_user["rating"], strict=True)
    ]
    show_table(f"Predict, compared with held-out ratings of user {USER}", ("title", "predicted", "true", "error"), rows)
    started = time.perf_counter()
    predicted = client.predict_frame(held_out)
    seconds = time.perf_counter() - started
    errors = predicted.to_numpy() - held_out["rating"].to_numpy()
    rmse = float(np.sqrt(np.mean(errors**2)))
    rmse_of_mean = float(held_out["rating"].std(ddof=0))
    console.print(
        f"  all {len(held_out):,} held-out ratings in {seconds:.2f} s: RMSE {rmse:.4f} "
        f"(predicting their mean: {rmse_of_mean:.4f})"
    )


def _explain(client: Client, scored: ScoredItem) -> None:
    """Show the parts of the score of a recommended item."""
    explanation = client.explain(USER, scored.item_id, max_contributions=3)
    items = _items_by_id(client, [part.item_id for part in explanation.contributions])
    rows = [
        ("global bias", "", f"{explanation.global_bias:+.3f}"),
        ("user bias", "", f"{explanation.user_bias:+.3f}"),
        ("item bias", "", f"{explanation.item_bias:+.3f}"),
        ("average taste for it", "", f"{explanation.average_interaction:+.3f}"),
    ]
    rows += [
        (f"because of {items[part.item_id].title}", f"{part.rating:g}", f"{part.contribution:+.3f}")
        for part in explanation.contributions
    ]
    others = f"{explanation.other_rating_count:,} other ratings"
    rows.append((others, "", f"{explanation.other_contributions:+.3f}"))
    rows.append(("unexplained", "", f"{explanation.unexplained:+.3f}"))
    rows.append(("score", "", f"{explanation.score:+.3f}"))
    rows.append(("score in the list of Recommend", "", f"{explanation.ranking_score:+.3f}"))
    show_table(f"Explain, the predicted rating of {scored.title} for user {USER}", ("part", "rated", "adds"), rows)


def _embed_new_user(client: Client) -> UserEmbedding:
    """Embed a user whom the model has not seen, from five ratings, and recommend items to that user."""
    films = {title: client.search_items(title, 1).items[0] for title, _ in FIVE_RATINGS}
    ratings = {films[title].item_id: rating for title, rating in FIVE_RATINGS}
    new_user = client.embed_new_user(ratings)
    console.print("\n[bold]EmbedNewUser[/], from five ratings")
    for title, rating in FIVE_RATINGS:
        console.print(Text(f"  {rating:g}  {films[title].title}"))
    n_factors = len(new_user.embedding.factors)
    console.print(f"  gives {n_factors} factors; predictions from them fit the ratings, RMSE {new_user.fit_rmse:.2f}")
    show_scored("Recommend, for that new user", client.recommend(new_user.embedding, 10), "score")
    return new_user.embedding


def _embed_new_item(client: Client) -> None:
    """Embed a film that the model has not seen, from its genres and two ratings."""
    new_item = client.embed_new_item({USER: 5.0, "2": 4.0}, genres=["Drama", "War"], release_year=2026)
    embedding = new_item.embedding
    console.print("\n[bold]EmbedNewItem[/], a war drama of 2026 with two ratings")
    console.print(
        f"  gives {len(embedding.factors)} factors and a bias of {embedding.bias:+.2f}; predictions from them fit the "
        f"ratings, RMSE {new_item.fit_rmse:.2f}"
    )


def _batch(client: Client, new_user: UserEmbedding) -> None:
    horror = recommend_request(USER, 3, filter=ItemFilter(any_genres=("Horror",)))
    console.print(
        f"\n[bold]BatchRecommend[/], user {USER}, the new user, an unknown user, user {USER} with horror only"
    )
    for result in client.batch_recommend([USER, new_user, "nobody", horror], 3):
        if isinstance(result, EntryError):
            console.print(Text(f"  {result.reason}: {result.message}"))
        else:
            console.print(Text("  " + " | ".join(scored.title for scored in result)))


def _stream(client: Client, user_ids: list[str]) -> None:
    started = time.perf_counter()
    best: Counter[str] = Counter()
    for _, result in client.stream_recommend(user_ids, 1):
        if not isinstance(result, EntryError):
            best.update(scored.title for scored in result)
    seconds = time.perf_counter() - started
    favourite, count = best.most_common(1)[0]
    console.print(
        f"\n[bold]StreamRecommend[/], the best film for each of {len(user_ids)} users: {len(best)} different films in "
        f"{seconds:.2f} s, most often {favourite} ({count} times)",
        soft_wrap=True,
    )


def _items_by_id(client: Client, item_ids: Iterable[str]) -> dict[str, Item]:
    candidates = ItemFilter(candidate_item_ids=tuple(item_ids))
    found = client.recommend(USER, max(1, len(candidates.candidate_item_ids)), filter=candidates, include_rated=True)
    return {scored.item_id: scored.item for scored in found}
