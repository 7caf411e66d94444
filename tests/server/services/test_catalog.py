"""GetModel, ListModels, SearchItems and ListTopItems on a real server, and title search on titles made for it."""

from __future__ import annotations

from collections import Counter
from datetime import UTC
from types import SimpleNamespace

import grpc
import numpy as np
import pytest

from cofactor.v1.catalog_pb2 import GetModelRequest, ListModelsRequest, ListTopItemsRequest, SearchItemsRequest
from cofactor.v1.model_pb2 import ItemAttribute, Model, ModelRef
from cofactor.v1.recommender_pb2 import RecommendRequest, SimilarItemsRequest, User
from cofactor_server.ranking.catalogue import fewest_ratings_to_rank
from cofactor_server.ranking.title_search import TitleSearch, normalize
from cofactor_server.repository.serving_policy import newest_first
from cofactor_trainer.report import statistics
from tests.support import synthetic
from tests.support.expected import ARCHITECTURES, COUNTS, item_effects_of


def test_get_model_describes_the_version_and_the_limits(api):
    response = api.catalog.GetModel(GetModelRequest(model=ModelRef(name="net", version="1")))
    model, limits = response.model, response.limits
    assert (model.name, model.version, model.architecture, model.objective) == ("net", "1", "neural-network", "rating")
    assert (model.user_count, model.item_count, model.state) == (40, 120, Model.STATE_READY)
    assert (model.rating_min, model.rating_max) == (0.5, 5.0)
    assert list(model.execution_providers) == ["CPUExecutionProvider"]
    assert model.supports_new_users
    assert model.metrics["mse"] == 0.8
    assert model.metrics_protocol == "measured on random numbers"
    assert model.load_time.seconds >= model.train_time.seconds > 0
    assert (limits.max_page_size, limits.max_items_per_request, limits.max_requests_per_batch) == (1000, 10_000, 256)
    nofold = api.catalog.GetModel(GetModelRequest(model=ModelRef(name="nofold"))).model
    assert not nofold.supports_new_users
    assert api.catalog.GetModel(GetModelRequest()).model.name == "dot"


def test_get_model_lists_the_attributes_of_the_items(api):
    attributes = {entry.name: entry for entry in api.catalog.GetModel(GetModelRequest()).model.attributes}
    built_in = ["item_id", "title", "genres", "release_year", "rating_count"]
    assert list(attributes) == [*built_in, "brand", "price", "in_stock", "tags", "added"]
    assert [name for name, entry in attributes.items() if entry.built_in] == built_in
    kinds = [ItemAttribute.Type.Name(entry.type).removeprefix("TYPE_").lower() for entry in attributes.values()]
    assert kinds == ["text", "text", "texts", "number", "number", "text", "number", "boolean", "texts", "time"]
    values = [synthetic.attribute_values(row) for row in range(synthetic.N_ITEMS)]
    for name in ("brand", "price", "in_stock", "tags", "added"):
        assert attributes[name].item_count == sum(row[name] is not None for row in values)
    brands = Counter(row["brand"] for row in values if row["brand"])
    assert (attributes["brand"].distinct_count, attributes["tags"].distinct_count) == (3, 2)
    assert list(attributes["brand"].examples) == sorted(brands, key=lambda brand: (-brands[brand], brand))
    prices = [row["price"] for row in values if row["price"] is not None]
    assert (attributes["price"].lowest.number, attributes["price"].highest.number) == (min(prices), max(prices))
    earliest = attributes["added"].lowest.time.ToDatetime(tzinfo=UTC)
    assert earliest == min(row["added"] for row in values if row["added"])
    assert attributes["release_year"].lowest.number == 1961
    assert attributes["title"].item_count == 120
    others = api.catalog.GetModel(GetModelRequest(model=ModelRef(name="net"))).model.attributes
    assert [entry.name for entry in others] == built_in


def test_items_carry_their_attributes_wherever_they_are_returned(api):
    found = list(api.catalog.SearchItems(SearchItemsRequest(query="film", page_size=200)).items)
    found += api.catalog.ListTopItems(ListTopItemsRequest(page_size=200)).items
    request = RecommendRequest(user=User(user_id="u003"), page_size=200, return_items=True)
    found += [result.item for result in api.recommender.Recommend(request).results]
    similar = SimilarItemsRequest(item_ids=["i001"], page_size=200, return_items=True)
    found += [result.item for result in api.recommender.SimilarItems(similar).results]
    assert len(found) > 400
    for item in found:
        known = {k: v for k, v in synthetic.attribute_values(int(item.item_id[1:])).items() if v is not None}
        assert {name: plain_value(value) for name, value in item.attributes.items()} == known


def plain_value(value):
    """Return the content of an AttributeValue."""
    kind = value.WhichOneof("kind")
    if kind == "time":
        return value.time.ToDatetime(tzinfo=UTC)
    return tuple(value.texts.values) if kind == "texts" else getattr(value, kind)


def test_the_pages_of_list_models_name_every_version_once(api):
    request, names = ListModelsRequest(page_size=2), []
    while True:
        response = api.catalog.ListModels(request)
        names += [(model.name, model.version) for model in response.models]
        if not response.next_page_token:
            break
        request.page_token = response.next_page_token
    assert names == [("dot", "1"), ("hybrid", "1"), ("net", "1"), ("nofold", "1"), ("ranker", "1")]


def test_search_finds_titles_by_the_beginning_of_words_over_all_pages(api):
    request, titles = SearchItemsRequest(query="FILM of 1", page_size=7), []
    while True:
        response = api.catalog.SearchItems(request)
        titles += [item.title for item in response.items]
        if not response.next_page_token:
            break
        request.page_token = response.next_page_token
    expected = {f"The Film of {row}" for row in range(synthetic.N_ITEMS) if str(row).startswith("1")}
    assert (len(titles), set(titles)) == (len(expected), expected)
    assert titles[0] == "The Film of 1"  # the only title with every word in full
    assert not api.catalog.SearchItems(SearchItemsRequest(query="film nowhere")).items
    assert not api.catalog.SearchItems(SearchItemsRequest(query="!?")).items


# Of the 120 items, 100 have at least this many ratings; the others are never among the best or the worst.
FEWEST = np.sort(COUNTS)[-100]


@pytest.mark.parametrize("name", list(ARCHITECTURES))
@pytest.mark.parametrize(
    ("order", "keys"),
    [
        (ListTopItemsRequest.ORDER_HIGHEST_BIAS, lambda effects: (-effects, COUNTS < FEWEST)),
        (ListTopItemsRequest.ORDER_UNSPECIFIED, lambda effects: (-effects, COUNTS < FEWEST)),
        (ListTopItemsRequest.ORDER_LOWEST_BIAS, lambda effects: (effects, COUNTS < FEWEST)),
        (ListTopItemsRequest.ORDER_MOST_RATED, lambda effects: (-COUNTS,)),
    ],
)
def test_top_items_come_in_the_requested_order_over_all_pages(api, name, order, keys):
    effects = item_effects_of(name)
    request, ids = ListTopItemsRequest(model=ModelRef(name=name), order=order, page_size=50), []
    while True:
        response = api.catalog.ListTopItems(request)
        ids += [item.item_id for item in response.items]
        if not response.next_page_token:
            break
        request.page_token = response.next_page_token
    assert ids == [f"i{row:03}" for row in np.lexsort(keys(effects))]
    assert 0 < np.sum(COUNTS < FEWEST) < len(COUNTS)


@pytest.mark.parametrize(
    ("counts", "fewest"),
    [
        (np.arange(1000), 20),
        (np.arange(110), 10),  # items 10 to 109 are the 100 most rated
        (np.array([3, 1, 2]), 1),
        (np.zeros(5, int), 0),
    ],
)
def test_an_item_needs_20_ratings_to_be_the_best_or_fewer_in_a_small_table(counts, fewest):
    assert fewest_ratings_to_rank(counts) == fewest
    assert statistics.fewest_ratings_to_rank(counts) == fewest  # the report lists the same items


def test_a_version_without_item_effects_is_ordered_by_its_biases(dot_version, tmp_path, versions, serve):
    copy = versions.copy(dot_version, tmp_path, "dot", "1")
    versions.drop_table(copy, "item_effect")
    items = serve(tmp_path).catalog.ListTopItems(ListTopItemsRequest(page_size=100)).items
    bias = synthetic.make_model("dot-product").item_bias[:-1]
    ranked = np.flatnonzero(COUNTS >= FEWEST)
    best = ranked[np.argsort(-bias[ranked], kind="stable")][:100]
    assert [item.item_id for item in items] == [f"i{row:03}" for row in best]
    assert [item.bias for item in items] == pytest.approx(bias[best].tolist())


TITLES = [
    "Heat (1995)",
    "The Heat (2013)",
    "Heathers (1989)",
    "In the Heat of the Night (1967)",
    "Amélie (Le Fabuleux destin d'Amélie Poulain) (2001)",
    "The The (1999)",
    "The\nTheory of Everything (2014)",
    "STRASSE (1980)",
    "",
    "Heat",
    "\N{FULLWIDTH LATIN CAPITAL LETTER F}ull Width",
]


@pytest.fixture
def search():
    catalogue = SimpleNamespace(
        titles=TITLES,
        release_years=np.array([1995, 2013, 1989, 1967, 2001, 1999, 2014, 1980, 0, 0, 0]),
        rating_counts=np.array([10, 50, 90, 70, 5, 1, 2, 3, 4, 20, 0]),
    )
    return TitleSearch(catalogue)


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        # Whole titles first, then whole words, then beginnings of words; within these by rating count.
        ("heat", [9, 0, 3, 1, 2]),
        ("HEAT the", [3, 1]),
        ("heat 1995", [0]),
        ("amelie", [4]),
        ("Amélie d'amélie", [4]),
        ("the the", [5, 3, 1, 6]),
        ("the", [3, 1, 6, 5]),
        ("straße", [7]),
        ("full width", [10]),
        ("eat", []),
        ("heat zzz", []),
        ("...", []),
        ("(", []),
    ],
)
def test_search_orders_whole_titles_then_whole_words_then_beginnings(search, query, rows):
    assert search.find_rows(query).tolist() == rows


def test_folding_drops_case_accents_and_punctuation():
    assert normalize("Crème-Brûlée: ÉTÉ_2!").split() == ["creme", "brulee", "ete", "2"]


def test_versions_are_ordered_by_the_numbers_in_their_names():
    versions = ["10", "2", "1.9", "1.10", "20261121T203000Z", "20261121T093000Z"]
    assert newest_first(versions) == ["20261121T203000Z", "20261121T093000Z", "10", "2", "1.10", "1.9"]


def test_the_server_serves_the_highest_version_of_every_model(dot_version, tmp_path, versions, serve):
    for version in ("9", "10", "1.5"):
        versions.copy(dot_version, tmp_path, "dot", version)
    (tmp_path / "dot" / ".11.tmp").mkdir()
    (tmp_path / "dot" / "12").mkdir()  # not published: has no manifest
    (tmp_path / "Not-a-model").mkdir()
    api = serve(tmp_path)
    assert api.catalog.GetModel(GetModelRequest()).model.version == "10"
    with pytest.raises(grpc.RpcError) as caught:
        api.catalog.GetModel(GetModelRequest(model=ModelRef(version="9")))
    assert 'version "9" of "dot" is not served' in caught.value.details()
