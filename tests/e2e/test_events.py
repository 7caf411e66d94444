"""A version that learnt from the events of the generated shop recommends what its customers like."""

import re
import shlex
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cofactor_client import Client, ItemFilter
from cofactor_client.errors import FailedPreconditionError
from cofactor_server.config import ServerConfig
from cofactor_server.server import create_server
from cofactor_trainer.__main__ import main
from cofactor_trainer.data.events.demo_shop import (
    BRANDS,
    CATEGORIES,
    N_ITEMS,
    N_USERS,
    TYPES,
    generate_shop,
    item_id,
    user_id,
)
from cofactor_trainer.export.version_reader import read_version

PAGE = Path(__file__).resolve().parents[2] / "docs" / "events.md"
WEIGHTS = ["--events", "purchase=5,cart=2,view=1", "--negative-events", "return"]
# Customers like two categories of six.
BY_CHANCE = 2 / 6


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Train on the shop twice, with and without a half-life; return the model repository."""
    folder = tmp_path_factory.mktemp("shop")
    common = ["--dataset", "demo-shop", *WEIGHTS, "--output", str(folder), "--version", "1", "--epochs", "15"]
    assert main(["train", *common, "--name", "shop", "--validation-fraction", "0"]) == 0
    assert main(["train", *common, "--name", "recent", "--half-life", "90d", "--split", "time"]) == 0
    return folder


@pytest.fixture(scope="module")
def shop(models):
    """Serve both versions; return a client and what is known of the shop."""
    config = ServerConfig(models=models, port=0, provider="cpu", drain_delay_s=0, grace_s=2, threads=2)
    with create_server(config) as server, Client(f"127.0.0.1:{server.port}") as client:
        yield SimpleNamespace(client=client, truth=generate_shop())


def recommended_categories(shop, users, model):
    """Return the categories of the first ten recommendations of users, (n_users, 10)."""
    return np.array(
        [
            [shop.truth.categories[int(item.item_id.split("-")[1])] for item in answer.results]
            for answer in (shop.client.recommend(user_id(user), k=10, model=model) for user in users)
        ]
    )


def share_of(categories, wanted):
    """Return the share of recommendations in the wanted category of their user: wanted (n_users,)."""
    return float((categories == wanted[:, None]).mean())


def active_users(shop, n_users=120):
    return np.argsort(-np.bincount(shop.truth.users, minlength=N_USERS), kind="stable")[:n_users]


def test_the_shop_is_filtered_by_what_it_knows_about_its_items(shop):
    cheap_books = ItemFilter(expression='category = "Books" AND price < 20 AND NOT brand in ["Alder", "Elm"]')
    page = shop.client.recommend(user_id(3), k=300, model="shop", filter=cheap_books, include_rated=True)
    truth = shop.truth
    expected = {
        item_id(item)
        for item in range(N_ITEMS)
        if CATEGORIES[truth.categories[item]] == "Books"
        and truth.prices[item] < 2000
        and BRANDS[truth.brands[item]] not in ("Alder", "Elm")
    }
    assert {scored.item_id for scored in page} == expected
    assert all(scored.item.attributes["price"] < 20 for scored in page)
    assert 0 < len(expected) < 50


def test_customers_are_recommended_the_categories_that_they_like(shop):
    users = active_users(shop)
    found = recommended_categories(shop, users, "shop")
    liked = [category in shop.truth.liked(user) for user, row in zip(users, found, strict=True) for category in row]
    assert np.mean(liked) > 1.5 * BY_CHANCE


def test_a_half_life_follows_customers_whose_taste_changed(shop):
    favourites = shop.truth.favourites
    users = np.array([user for user in active_users(shop, 200) if favourites[user, 0] != favourites[user, 2]])
    early, late = favourites[users, 0], favourites[users, 2]
    plain, recent = (recommended_categories(shop, users, model) for model in ("shop", "recent"))
    assert share_of(recent, late) > share_of(plain, late) + 0.05
    assert share_of(recent, early) < share_of(plain, early) - 0.05


def test_what_a_customer_bought_or_sent_back_is_not_recommended(shop):
    truth = shop.truth
    returned = TYPES.index("return")
    for user in np.unique(truth.users[truth.types == returned])[:10]:
        had = {item_id(item) for item in truth.items[truth.users == user]}
        sent_back = {item_id(item) for item in truth.items[(truth.users == user) & (truth.types == returned)]}
        assert sent_back
        answer = {item.item_id for item in shop.client.recommend(user_id(user), k=50, model="shop").results}
        assert not answer & had


def test_a_version_of_events_predicts_no_ratings(shop):
    with pytest.raises(FailedPreconditionError):
        shop.client.predict(user_id(0), [item_id(0)], model="shop")


def test_the_manifest_says_what_the_version_learnt_from(models):
    manifest = read_version(models / "recent" / "1").manifest
    events = manifest.events
    assert (manifest.objective, manifest.rating_min, manifest.rating_max) == ("ranking", 0, 0)
    assert [(kind.name, kind.weight, kind.negative) for kind in events.types] == [
        ("cart", 2, False),
        ("purchase", 5, False),
        ("return", 0, True),
        ("view", 1, False),
    ]
    assert (events.half_life_seconds, events.weight_cap, events.log_weights) == (90 * 86_400, 5, False)
    assert events.newest_event_time.seconds == generate_shop().seconds.max()
    assert events.fold_in_scale > 0
    assert manifest.metrics["ndcg@10"] > 0.08


def test_a_newcomer_with_events_of_one_category_gets_that_category(models):
    version, truth = read_version(models / "shop" / "1"), generate_shop()
    ids = version.strings("item_ids")
    categories = np.array([truth.categories[int(name.split("-")[1])] for name in ids])
    for category in range(6):
        items = np.flatnonzero(categories == category)[:6]
        weights = np.full((1, len(items)), 5, np.float32)
        outputs = version.run("embed_user", item_rows=items[None].astype(np.int64), ratings=weights)
        user = next(value for value in outputs.values() if value.shape == (1, version.manifest.user_factor_count))
        scores = version.tables["item_factors"][:-1] @ user[0] + version.tables["item_bias"][:-1]
        scores[items] = -np.inf
        best = categories[np.argsort(-scores)[:10]]
        assert (best == category).mean() >= 0.6


def test_the_commands_of_the_page_train_on_the_files_of_the_shop(tmp_path, monkeypatch, capsys):
    commands = re.findall(r"^(?:python -m|cofactor-train) .*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    generate, train = (shlex.split(command) for command in commands[:2])
    monkeypatch.chdir(tmp_path)
    assert import_module(generate[2]).main(generate[3:]) == 0
    assert main([*train[1:], "--epochs", "1"]) == 0
    printed = capsys.readouterr().out
    shown = PAGE.read_text(encoding="utf-8").split("prints what it read:")[1].split("```")[1].strip()
    assert all(line in printed for line in shown.splitlines())
    assert [path.parts[:2] for path in Path("models").glob("*/*/manifest.json")] == [("models", "shop")]


def test_the_report_speaks_of_events(models, tmp_path):
    page = tmp_path / "page.html"
    assert main(["report", str(models / "recent" / "1"), "--html", str(page), "--validation-fraction", "0"]) == 0
    text = page.read_text(encoding="utf-8")
    assert "pairs of a user and an item with events" in text
    assert "purchase 4,320 (weight 5), return 403 (negative)" in text
    assert "the user came to it in a held-out event" in text
    assert "scale 0 to 0" not in text
