"""Every method of the API once, with answers to look at."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from itertools import islice

import numpy as np
import pandas as pd
from rich.text import Text

from cofactor_client import Client, EntryError, Item, ItemFilter, ScoredItem, recommend_request
from examples.demo.display import console, show, show_items, show_scored

USER = "15"
FIVE_RATINGS = (
    ("Star Wars: Episode IV - A New Hope", 5.0),
    ("The Matrix", 5.0),
    ("Blade Runner", 4.5),
    ("Pretty Woman", 2.0),
    ("The Notebook", 1.5),
)


def tour(client: Client, held_out: pd.DataFrame) -> None:
    """Every method once; held_out has user_id, item_id and rating."""
    description = client.get_model()
    model = description.model
    console.print(
        f"GetModel: {model.name} {model.version}, {model.architecture}, {model.factor_count} factors, "
        f"{model.user_count:,} users, {model.item_count:,} items, on {model.execution_providers[0]}"
    )
    console.print("ListModels: " + ", ".join(f"{m.name} {m.version} ({m.state})" for m in client.iter_models()))
    found = client.search_items("star wars", 3)
    show_items("SearchItems, 'star wars'", found)
    show_items("ListTopItems, most rated", client.top_items("most-rated", 5))
    best = (item for item in client.iter_top_items("highest-bias") if item.bias and item.rating_count >= 50)
    if five := list(islice(best, 5)):  # a network has no biases of its own
        show_items("ListTopItems, best liked whatever one's taste, of those rated 50 times", five)
    top = client.recommend(USER, 10)
    show_scored(f"Recommend, top 10 for user {USER}", top, "score")
    predictions(client, held_out)
    toy_story = client.search_items("toy story", 1).items[0]
    similar = client.similar_items(toy_story.item_id, 5, filter=ItemFilter(min_rating_count=20))
    show_scored(f"SimilarItems, like {toy_story.title}", similar, "cosine")
    explanation(client, top.results[0])
    newcomer(client)
    everybody(client, held_out["user_id"].unique().tolist())


def predictions(client: Client, held_out: pd.DataFrame) -> None:
    """Predicted beside true held-out ratings, for one user and for all."""
    mine = held_out[held_out["user_id"] == USER].head(8)
    answer = client.predict(USER, mine["item_id"])
    titles = titles_of(client, mine["item_id"])
    rows = [
        (titles[item_id].title, f"{rating:.2f}", f"{true:g}", f"{rating - true:+.2f}")
        for item_id, rating, true in zip(mine["item_id"], answer.ratings, mine["rating"], strict=True)
    ]
    show(f"Predict, beside the held-out ratings of user {USER}", ("title", "predicted", "true", "off by"), rows)
    started = time.perf_counter()
    predicted = client.predict_frame(held_out)
    seconds = time.perf_counter() - started
    errors = predicted.to_numpy() - held_out["rating"].to_numpy()
    rmse = float(np.sqrt(np.mean(errors**2)))
    constant = float(held_out["rating"].std(ddof=0))
    console.print(
        f"  all {len(held_out):,} held-out ratings in {seconds:.2f} s: RMSE {rmse:.4f} "
        f"(always saying their mean: {constant:.4f})"
    )


def explanation(client: Client, scored: ScoredItem) -> None:
    """Why one item was recommended."""
    answer = client.explain(USER, scored.item_id, max_contributions=3)
    titles = titles_of(client, [part.item_id for part in answer.contributions])
    rows = [
        ("average", "", f"{answer.global_bias:+.3f}"),
        ("this user rates", "", f"{answer.user_bias:+.3f}"),
        ("this film is rated", "", f"{answer.item_bias:+.3f}"),
    ]
    rows += [
        (f"because of {titles[part.item_id].title}", f"{part.rating:g}", f"{part.contribution:+.3f}")
        for part in answer.contributions
    ]
    rows.append(("everything else in common", "", f"{answer.remainder:+.3f}"))
    rows.append(("sum", "", f"{answer.score:+.3f}"))
    show(f"Explain, why {scored.title} for user {USER}", ("part", "rated", "adds"), rows)


def newcomer(client: Client) -> None:
    """A user whom no model has seen: five ratings, an embedding, ten recommendations; and one of the opposite taste."""
    films = {title: client.search_items(title, 1).items[0] for title, _ in FIVE_RATINGS}
    ratings = {films[title].item_id: rating for title, rating in FIVE_RATINGS}
    user = client.embed_new_user(ratings)
    console.print("\n[bold]EmbedNewUser[/], from five ratings")
    for title, rating in FIVE_RATINGS:
        console.print(Text(f"  {rating:g}  {films[title].title}"))
    console.print(
        f"  gives {len(user.embedding.factors)} factors, fitting the ratings to an RMSE of {user.fit_rmse:.2f}"
    )
    show_scored("Recommend, to that new user", client.recommend(user.embedding, 10), "score")
    opposite = client.embed_new_user({item_id: 6 - rating for item_id, rating in ratings.items()})
    show_scored("Recommend, to one who rates the other way round", client.recommend(opposite.embedding, 5), "score")
    horror = recommend_request(USER, 3, filter=ItemFilter(any_genres=("Horror",)))
    console.print("\n[bold]BatchRecommend[/], a user, the new one, an unknown one, and one who wants horror")
    for answer in client.batch_recommend([USER, user.embedding, "nobody", horror], 3):
        if isinstance(answer, EntryError):
            console.print(Text(f"  {answer.reason}: {answer.message}"))
        else:
            console.print(Text("  " + " | ".join(scored.title for scored in answer)))


def everybody(client: Client, users: list[str]) -> None:
    """One stream for all users."""
    started = time.perf_counter()
    best: Counter[str] = Counter()
    for _, answer in client.stream_recommend(users, 1):
        if not isinstance(answer, EntryError):
            best.update(scored.title for scored in answer)
    seconds = time.perf_counter() - started
    favourite, count = best.most_common(1)[0]
    console.print(
        f"\n[bold]StreamRecommend[/], the best film for each of {len(users)} users: {len(best)} different films in "
        f"{seconds:.2f} s, most often {favourite} ({count} times)",
        soft_wrap=True,
    )


def titles_of(client: Client, item_ids: Iterable[str]) -> dict[str, Item]:
    """What is known of these items."""
    wanted = ItemFilter(candidate_item_ids=tuple(item_ids))
    found = client.recommend(USER, max(1, len(wanted.candidate_item_ids)), filter=wanted, include_rated=True)
    return {scored.item_id: scored.item for scored in found if scored.item is not None}


def more_to_try(address: str) -> None:
    """Commands that ask the same server."""
    for command in (
        f"cofactor recommend {USER} --address {address}",
        f"cofactor similar 'Toy Story' --address {address}",
        f"cofactor embed --rate 'Toy Story=5' --rate 'Alien=2' --recommend 10 --address {address}",
        f"cofactor search star wars --address {address}",
        f"cofactor model --address {address} --model neural-net",
    ):
        console.print(f"  .venv/bin/{command}", soft_wrap=True)
