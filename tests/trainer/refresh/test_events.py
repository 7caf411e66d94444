"""A version that learnt from events is refreshed with newer events, by the rules that it was trained with."""

import numpy as np
import pytest

from cofactor_trainer.__main__ import main
from cofactor_trainer.export.version_reader import read_version
from tests.support import shop

NEW_TIME = shop.START + 380 * shop.DAY


@pytest.fixture
def events(tmp_path):
    """The events of the shop, with a new customer who buys tea, and a customer of tea who now buys a new tea."""
    path = shop.write_events(tmp_path / "events.csv")
    bought = [("new", item) for item in shop.TEA[:5]]
    bought += [(f"c{number:02}", "white tea") for number in range(0, 20, 2)]
    with path.open("a", encoding="utf-8") as file:
        for customer, item in bought:
            file.write(f"{customer},{item},purchase,1,{NEW_TIME}\n")
    return path


def refresh(events, shop_version, tmp_path, *flags):
    return main(
        ["train", "--dataset", str(events), "--warm-start", str(shop_version), "--output", str(tmp_path), *flags]
    )


def test_new_customers_and_new_items_are_ranked_by_taste(events, shop_version, tmp_path):
    assert refresh(events, shop_version, tmp_path, *shop.EVENT_FLAGS, "--version", "2") == 0
    version = read_version(tmp_path / "shop" / "2")
    assert version.manifest.events.fold_in_scale > 0
    assert version.manifest.embedding_space == read_version(shop_version).manifest.embedding_space
    users, items = version.strings("user_ids"), version.strings("item_ids")
    scores = version.tables["user_factors"] @ version.tables["item_factors"].T + version.tables["item_bias"]
    tea, tools = ([items.index(item) for item in names] for names in (shop.TEA, shop.TOOLS))
    newcomer = scores[users.index("new")]
    assert np.mean(newcomer[tea]) > np.mean(newcomer[tools]) + 1
    white_tea = scores[:-1, items.index("white tea")]
    drinkers = [row for row, user in enumerate(users) if user[1:].isdigit() and not int(user[1:]) % 2]
    others = [row for row, user in enumerate(users) if user[1:].isdigit() and int(user[1:]) % 2]
    assert white_tea[drinkers].mean() > white_tea[others].mean() + 1


def test_events_that_are_weighed_by_other_rules_are_refused(events, shop_version, tmp_path, capsys):
    flags = ("--events", "purchase=9,view=1", "--negative-events", "return", "--half-life", "90d")
    assert refresh(events, shop_version, tmp_path, *flags) == 2
    assert "weighed events by other rules" in capsys.readouterr().err


def test_ratings_do_not_refresh_a_version_of_events(shop_version, tmp_path, capsys):
    ratings = tmp_path / "ratings.csv"
    ratings.write_text("user_id,item_id,rating\nc00,tea00,4\nc01,tea00,2\nc01,tea01,1\n", encoding="utf-8")
    assert refresh(ratings, shop_version, tmp_path) == 2
    assert "learnt from events, but the data are ratings" in capsys.readouterr().err
