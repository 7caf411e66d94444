"""Two new users, such as two of opposite tastes, and the films that each of them gets."""

from __future__ import annotations

import json
from pathlib import Path

from rich.text import Text

from cofactor_client import Client, Item
from examples.demo.display import console, show_table

NEWCOMERS = Path(__file__).with_name("newcomers.json")
OPPOSITES = ("sci-fi", "romance")
N_FILMS = 10


def show_newcomers(client: Client, names: tuple[str, str] = OPPOSITES) -> None:
    """Embed two newcomers from their ratings, and print their top films side by side. names: keys of newcomers.json."""
    people = json.loads(NEWCOMERS.read_text(encoding="utf-8"))
    first, second = (people[name]["ratings"] for name in names)
    films, others = _recommend(client, first), _recommend(client, second)
    columns = [f"for the {name} fan" for name in names]
    pairs = zip(films, others, strict=True)
    rows = [(str(rank), *(film.title for film in pair)) for rank, pair in enumerate(pairs, start=1)]
    show_table("Recommend, for two new users side by side", ("#", *columns), rows, text_columns=columns)
    both_rated = [f"{title} {first[title]:g}/{second[title]:g}" for title in first if title in second]
    console.print(Text("  rated by both: " + (", ".join(both_rated) or "no film")), soft_wrap=True)
    n_shared = len({film.item_id for film in films} & {film.item_id for film in others})
    console.print(f"  films in both lists: {n_shared} of {len(films)}")


def _recommend(client: Client, ratings: dict[str, float]) -> list[Item]:
    """Return the top films of a new user with these ratings by title."""
    new_user = client.embed_new_user({_film(client, title).item_id: rating for title, rating in ratings.items()})
    return [scored.item for scored in client.recommend(new_user.embedding, N_FILMS)]


def _film(client: Client, title: str) -> Item:
    """Return the film of exactly this title; of several the one with the most ratings."""
    films = [film for film in client.search_items(title, 100).items if film.title == title]
    return max(films, key=lambda film: film.rating_count)
