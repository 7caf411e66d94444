"""The trained, exported and served model predicts and recommends well, and the demo shows every RPC."""

import json

import numpy as np
import pandas as pd
import pytest

from cofactor_client import EntryError, ItemFilter, recommend_request
from examples.demo.newcomers import NEWCOMERS, OPPOSITES, show_newcomers
from examples.demo.tour import tour
from examples.demo.training import show_parity

RPCS = [
    "GetModel",
    "ListModels",
    "SearchItems",
    "ListTopItems",
    "Recommend",
    "Predict",
    "SimilarItems",
    "Explain",
    "EmbedNewUser",
    "EmbedNewItem",
    "BatchRecommend",
    "StreamRecommend",
]


def test_training_prints_the_dataset_and_a_table_of_epochs(served):
    assert "MovieLens ml-latest-small, 100,004 ratings" in served.training_output
    header = next(line for line in served.training_output.splitlines() if "epoch" in line)
    assert all(column in header for column in ("train loss", "validation loss", "RMSE", "time"))


def test_the_server_describes_the_model_and_its_accuracy(served, client):
    model = client.get_model().model
    assert (model.user_count, model.dataset) == (served.trained_on["user_id"].nunique(), "MovieLens ml-latest-small")
    assert model.metrics["rmse"] < 0.88


def test_predictions_of_held_out_ratings_beat_user_and_item_means(served, client):
    held_out, trained_on = served.held_out, served.trained_on
    predicted = client.predict_frame(held_out)
    mean = trained_on["rating"].mean()
    items = trained_on.groupby("item_id")["rating"].mean()
    users = trained_on.groupby("user_id")["rating"].mean()
    baselines = {
        "global mean": np.full(len(held_out), mean),
        "item mean": held_out["item_id"].map(items),
        "user mean": held_out["user_id"].map(users),
    }
    error = ((predicted - held_out["rating"]) ** 2).mean()
    for name, baseline in baselines.items():
        assert error < 0.9 * ((baseline - held_out["rating"]) ** 2).mean(), name


def test_recommendations_leave_out_every_rated_film_also_the_held_out_ones(served, client):
    ratings = pd.concat([served.trained_on, served.held_out])
    rated = ratings.groupby("user_id")["item_id"].agg(set)
    for index, page in client.stream_recommend(rated.index, 10):
        assert not isinstance(page, EntryError)
        assert not {film.item_id for film in page} & rated.iloc[index]


def test_recommendations_of_films_not_trained_on_beat_chance(served, client):
    """A top 10 holds far more of the held-out films that the user liked than ten random films would."""
    rated = served.trained_on.groupby("user_id")["item_id"].agg(set)
    liked = served.held_out[served.held_out["rating"] >= 4].groupby("user_id")["item_id"].agg(set)
    n_items = served.trained_on["item_id"].nunique()
    hits = chances = 0.0
    requests = (
        recommend_request(user, 10, include_rated=True, filter=ItemFilter(excluded_item_ids=tuple(rated[user])))
        for user in liked.index
    )
    for index, page in client.stream_recommend(requests, 10):
        assert not isinstance(page, EntryError)
        user = liked.index[index]
        found = {film.item_id for film in page}
        assert len(found) == 10
        assert not found & rated[user]
        hits += len(found & liked[user])
        chances += 10 * len(liked[user]) / n_items
    assert hits > 20 * chances


def test_a_new_users_ratings_decide_the_recommendations(client):
    """Two new users with opposite ratings of the same five films get recommendations that fit their own taste."""
    space = [client.search_items(title).items[0] for title in ("Star Wars Episode IV", "Matrix", "Blade Runner")]
    romance = [client.search_items(title).items[0] for title in ("Pretty Woman", "Notebook")]
    embeddings = {}
    for name, (loved, hated) in {"space": (space, romance), "romance": (romance, space)}.items():
        ratings = {film.item_id: 5.0 for film in loved} | {film.item_id: 1.0 for film in hated}
        new_user = client.embed_new_user(ratings)
        assert new_user.used_rating_count == 5
        page = client.recommend(new_user.embedding, 10)
        assert len(page) == 10
        assert not set(ratings) & {film.item_id for film in page}
        known = client.predict(new_user.embedding, [film.item_id for film in client.top_items("most-rated", 200)])
        assert np.mean([film.predicted_rating for film in page]) > np.mean(known.ratings)
        embeddings[name] = new_user.embedding
    empire, sleepless = "1196", "539"  # The Empire Strikes Back, Sleepless in Seattle
    differences = {}
    for name, embedding in embeddings.items():
        ratings = client.predict(embedding, [empire, sleepless]).ratings
        differences[name] = ratings[0] - ratings[1]
    assert differences["space"] > differences["romance"] + 0.1


def test_sequels_are_similar_to_the_first_film(client):
    sequels = {"1196", "1210"}  # Episodes V and VI
    page = client.similar_items("260", 20)
    assert sequels & {film.item_id for film in page}


def test_the_most_rated_films_include_forrest_gump(client):
    assert "Forrest Gump" in {film.title for film in client.top_items("most-rated", 3)}


def test_the_demo_shows_a_response_of_every_rpc(served, client, capsys):
    tour(client, served.held_out)
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    for rpc in RPCS:
        assert any(line.startswith(rpc) for line in lines), rpc
    start = lines.index("Recommend, for that new user")
    assert [int(line.split()[0]) for line in lines[start + 2 : start + 12]] == list(range(1, 11))
    assert any(line.startswith("  films in both lists: ") for line in lines)
    assert "USER_NOT_FOUND" in shown
    assert "Star Wars: Episode IV - A New Hope" in shown
    assert "[bold]" not in shown


@pytest.mark.parametrize("names", [OPPOSITES, ("sci-fi", "star trek"), ("sci-fi", "sci-fi")])
def test_the_demo_shows_two_newcomers_side_by_side(served, client, capsys, names):
    """Every newcomer has a column with the films of that person, and the number of shared films is right."""
    show_newcomers(client, names)
    lines = capsys.readouterr().out.splitlines()
    people = json.loads(NEWCOMERS.read_text(encoding="utf-8"))
    rated = pd.concat([served.trained_on, served.held_out])["item_id"].value_counts()
    columns = []
    for name in names:
        ratings = {}
        for title, rating in people[name]["ratings"].items():
            of_title = [film.item_id for film in client.iter_search_items(title) if film.title == title]
            ratings[max(of_title, key=rated.__getitem__)] = rating
        page = client.recommend(client.embed_new_user(ratings).embedding, 10)
        columns.append([film.item_id for film in page])
        start = next(number for number, line in enumerate(lines) if f"for the {name} fan" in line)
        for film, line in zip(page, lines[start + 1 : start + 11], strict=True):
            assert line[lines[start].rindex(f"for the {name} fan") :].startswith(film.title[:39])
    n_shared = len(set(columns[0]) & set(columns[1]))
    assert lines[-1] == f"  films in both lists: {n_shared} of 10"
    if names == OPPOSITES:
        assert n_shared <= 2


def test_the_demo_shows_how_close_the_graphs_are_to_torch(served, capsys):
    show_parity(next((served.models / "films").iterdir()))
    shown = capsys.readouterr().out
    for graph in ("predict", "recommend", "similar_items", "similarity", "embed_user"):
        assert f"{graph} " in shown
    worst = max(float(word.rstrip(",")) for word in shown.split() if "e-" in word)
    assert worst <= 1e-5
