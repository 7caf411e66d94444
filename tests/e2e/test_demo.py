"""From ratings to answers: what the model that was trained, exported and served says about films."""

import numpy as np

from cofactor_client import EntryError
from examples.demo.tour import tour
from examples.demo.training import parity

METHODS = [
    "GetModel",
    "ListModels",
    "SearchItems",
    "ListTopItems",
    "Recommend",
    "Predict",
    "SimilarItems",
    "Explain",
    "EmbedNewUser",
    "BatchRecommend",
    "StreamRecommend",
]


def test_training_prints_the_dataset_and_a_table_of_epochs(served):
    assert "MovieLens ml-latest-small, 100,004 ratings" in served.training_output
    header = next(line for line in served.training_output.splitlines() if "epoch" in line)
    assert all(column in header for column in ("train loss", "validation loss", "RMSE", "time"))


def test_the_server_says_how_good_the_model_is(served, client):
    model = client.get_model().model
    assert (model.user_count, model.dataset) == (served.trained_on["user_id"].nunique(), "MovieLens ml-latest-small")
    assert model.metrics["rmse"] < 0.88


def test_predictions_of_held_out_ratings_beat_user_and_item_means(served, client):
    held_out, trained_on = served.held_out, served.trained_on
    predicted = client.predict_frame(held_out)
    mean = trained_on["rating"].mean()
    items = trained_on.groupby("item_id")["rating"].mean()
    users = trained_on.groupby("user_id")["rating"].mean()
    rules = {
        "global mean": np.full(len(held_out), mean),
        "item mean": held_out["item_id"].map(items),
        "user mean": held_out["user_id"].map(users),
    }
    error = ((predicted - held_out["rating"]) ** 2).mean()
    for rule, guesses in rules.items():
        assert error < 0.9 * ((guesses - held_out["rating"]) ** 2).mean(), rule


def test_recommendations_leave_out_what_was_rated_and_beat_chance(served, client):
    """Of held-out films that a user liked, a top 10 holds many more than ten films at random would."""
    rated = served.trained_on.groupby("user_id")["item_id"].agg(set)
    liked = served.held_out[served.held_out["rating"] >= 4].groupby("user_id")["item_id"].agg(set)
    n_items = served.trained_on["item_id"].nunique()
    hits = chances = 0.0
    for index, answer in client.stream_recommend(liked.index, 10):
        assert not isinstance(answer, EntryError)
        user = liked.index[index]
        found = {film.item_id for film in answer}
        assert len(found) == 10
        assert not found & rated[user]
        hits += len(found & liked[user])
        chances += 10 * len(liked[user]) / n_items
    assert hits > 20 * chances


def test_a_newcomers_ratings_decide_what_is_recommended(client):
    """Two newcomers rate the same five films the other way round, and each gets ten films nearer to their taste."""
    space = [client.search_items(title).items[0] for title in ("Star Wars Episode IV", "Matrix", "Blade Runner")]
    romance = [client.search_items(title).items[0] for title in ("Pretty Woman", "Notebook")]
    pages = {}
    for name, (loved, hated) in {"space": (space, romance), "romance": (romance, space)}.items():
        ratings = {film.item_id: 5.0 for film in loved} | {film.item_id: 1.0 for film in hated}
        newcomer = client.embed_new_user(ratings)
        assert newcomer.used_rating_count == 5
        page = client.recommend(newcomer.embedding, 10)
        assert len(page) == 10
        assert not set(ratings) & {film.item_id for film in page}
        known = client.predict(newcomer.embedding, [film.item_id for film in client.top_items("most-rated", 200)])
        assert np.mean([film.predicted_rating for film in page]) > np.mean(known.ratings)
        pages[name] = newcomer.embedding
    empire, sleepless = "1196", "539"  # The Empire Strikes Back, Sleepless in Seattle
    differences = {}
    for name, embedding in pages.items():
        ratings = client.predict(embedding, [empire, sleepless]).ratings
        differences[name] = ratings[0] - ratings[1]
    assert differences["space"] > differences["romance"] + 0.1


def test_sequels_are_similar(client):
    sequels = {"1196", "1210"}  # Episodes V and VI
    page = client.similar_items("260", 20)
    assert sequels & {film.item_id for film in page}


def test_the_most_rated_films_are_the_known_ones(client):
    assert "Forrest Gump" in {film.title for film in client.top_items("most-rated", 3)}


def test_the_demo_shows_an_answer_of_every_method(served, client, capsys):
    tour(client, served.held_out)
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    for method in METHODS:
        assert any(line.startswith(method) for line in lines), method
    start = lines.index("Recommend, to that new user")
    assert [int(line.split()[0]) for line in lines[start + 2 : start + 12]] == list(range(1, 11))
    assert "USER_NOT_FOUND" in shown
    assert "Star Wars: Episode IV - A New Hope" in shown
    assert "[bold]" not in shown


def test_the_demo_shows_how_far_the_graphs_are_from_torch(served, capsys):
    parity(next((served.models / "films").iterdir()))
    shown = capsys.readouterr().out
    for graph in ("predict", "recommend", "similar_items", "similarity", "embed_user"):
        assert f"{graph} " in shown
    worst = max(float(word.rstrip(",")) for word in shown.split() if "e-" in word)
    assert worst <= 1e-5
