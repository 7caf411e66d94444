"""Filter added items by typed attributes, and return these."""

from __future__ import annotations

import logging

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from cofactor.v1 import recommender_pb2 as pb
from cofactor.v1.model_pb2 import AttributeValue, TextList
from tests.support.overlays import Twins, publish

# Attributes of the added items, by their ids; of every type.
ATTRIBUTES = {
    "b-new": {
        "brand": AttributeValue(text="Zenith"),
        "price": AttributeValue(number=12345.5),
        "in_stock": AttributeValue(boolean=True),
        "added": AttributeValue(time=Timestamp(seconds=4_000_000_000)),
        "tags": AttributeValue(texts=TextList(values=["zeta", "eta"])),
    },
    "a-new": {"brand": AttributeValue(text="Apex"), "price": AttributeValue(number=54321)},
}


@pytest.fixture(scope="module")
def shared(connect_to, versions, dot_version, tmp_path_factory):
    """Return a server with two added items, its repository, and its twins."""
    models = tmp_path_factory.mktemp("attributes") / "models"
    versions.copy(dot_version, models, "m")
    twins = Twins(models / "m" / "1")
    added = [twins.twin("i010", item_id, attributes=values) for item_id, values in ATTRIBUTES.items()]
    publish(models, twins.overlay(1, added))
    with connect_to(models, poll_interval_s=0) as connection:
        yield connection, models, twins


def found(api, expression, **fields):
    item_filter = pb.ItemFilter(expression=expression, **fields)
    request = pb.RecommendRequest(
        user=pb.User(user_id="u003"), page_size=200, include_rated=True, filter=item_filter, return_items=True
    )
    return {result.item_id: result.item for result in api.recommender.Recommend(request, timeout=60).results}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('brand = "Zenith"', {"b-new"}),
        ("price > 12345", {"a-new", "b-new"}),
        ("price > 12345 AND in_stock = true", {"b-new"}),
        ('added > "2090-01-01T00:00:00Z"', {"b-new"}),
        ('tags : "zeta"', {"b-new"}),
        ('item_id = "a-new"', {"a-new"}),
        ('item_id < "b-new" AND price > 12345', {"a-new"}),
        ('title : "Twin of i010" OR brand = "Apex"', None),
    ],
)
def test_expressions_select_added_items_beside_those_of_the_version(shared, expression, expected) -> None:
    items = found(shared[0], expression)
    if expected is None:
        assert "a-new" in items
    else:
        assert set(items) == expected


def test_a_condition_on_the_version_and_on_added_items_gives_both(shared) -> None:
    everything, cheap = found(shared[0], ""), found(shared[0], "price < 12345")
    dear = found(shared[0], "price >= 12345 OR price < 12345")
    assert set(dear) == {*cheap, *ATTRIBUTES}
    assert set(cheap) < set(everything)
    assert set(found(shared[0], "price > 12345", candidate_item_ids=["a-new", "i001"])) == {"a-new"}


def test_added_items_return_their_attributes(shared) -> None:
    items = found(shared[0], "price > 12345")
    for item_id, values in ATTRIBUTES.items():
        returned = dict(items[item_id].attributes)
        assert returned.keys() == values.keys()
        for name, value in values.items():
            if name == "tags":
                assert set(returned[name].texts.values) == set(value.texts.values)
            else:
                assert returned[name] == value


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"colour": AttributeValue(text="red")}, 'attributes["colour"]: is not an attribute of the version; it has '),
        ({"price": AttributeValue(text="cheap")}, 'attributes["price"]: is of type text, and in the version of type'),
        ({"price": AttributeValue(number=float("nan"))}, 'attributes["price"]: must be a finite number'),
    ],
)
def test_attributes_that_do_not_fit_the_version_are_refused(shared, caplog, attributes, message) -> None:
    api, models, twins = shared
    path = publish(models, twins.overlay(2, [twins.twin("i010", "c-new", attributes=attributes)]))
    with caplog.at_level(logging.ERROR):
        api.server.reload_repository()
    path.unlink()
    assert message in caplog.text
