"""Expressions select the items that a plain evaluation, item by item, selects."""

from __future__ import annotations

import operator
from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cofactor.v1.manifest_pb2 import Manifest
from cofactor_server.ranking.catalogue import Catalogue as ServedCatalogue
from cofactor_server.ranking.filter_expressions import compile_expression
from cofactor_server.repository.attribute_tables import attribute_layout, check_attribute_contents
from cofactor_server.repository.version_directory import VersionDirectory
from cofactor_trainer.data.dataset import Catalogue, RatingsDataset
from cofactor_trainer.data.item_attributes import AttributeColumn, ItemAttributes
from cofactor_trainer.export.attribute_arrays import attribute_entries
from cofactor_trainer.export.version_arrays import catalogue_arrays

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COMPARISONS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
TYPES = {"brand": "text", "price": "number", "in_stock": "boolean", "tags": "texts", "added": "time"}
TYPES |= {"item_id": "text", "title": "text", "genres": "texts", "release_year": "number", "rating_count": "number"}
FURTHER = list(TYPES)[:5]


def serve(items):
    """Return the server's catalogue of items: dicts of attributes, None where a value is not known."""
    catalogue = Catalogue(
        item_ids=[item["item_id"] for item in items],
        titles=[item["title"] or "" for item in items],
        genres=[item["genres"] or () for item in items],
        release_years=np.array([item["release_year"] or 0 for item in items], np.int64),
        attributes=ItemAttributes(
            tuple(AttributeColumn.of_values(name, TYPES[name], [item[name] for item in items]) for name in FURTHER)
        ),
    )
    rated = np.repeat(np.arange(len(items)), [item["rating_count"] for item in items]).astype(np.int32)
    dataset = RatingsDataset("", ["u"], catalogue, rated * 0, rated, np.ones(len(rated), np.float32), None, 1, 5)
    tables = catalogue_arrays(dataset) | {"item_bias": np.zeros(len(items) + 1, np.float32)}
    manifest = Manifest(item_count=len(items), item_attributes=attribute_entries(catalogue.attributes))
    for name, (dtype, _) in attribute_layout(manifest, tables).items():
        assert tables[name].dtype == dtype
    check_attribute_contents(manifest, tables)
    return ServedCatalogue(VersionDirectory(Path(), manifest, tables))


def selected(catalogue, expression):
    return compile_expression(expression, catalogue.attributes.schema).mask(catalogue).tolist()


words = st.text("aAbß*\"'\\é😀", min_size=1, max_size=3)
numbers = st.sampled_from([-1.5, 0.0, 0.1, 2.0, 1e300]) | st.floats(-3, 3)
times = st.integers(-2, 3).map(lambda step: EPOCH + timedelta(days=9_000, hours=step, microseconds=step))
tags = st.lists(words, max_size=3).map(lambda texts: tuple(sorted(set(texts))) or None)


def optional(values):
    return st.none() | values


VALUES = {
    "brand": optional(words),
    "price": optional(numbers),
    "in_stock": optional(st.booleans()),
    "tags": tags,
    "added": optional(times),
    "title": optional(words),
    "genres": tags,
    "release_year": optional(st.integers(1, 5)),
    "rating_count": st.integers(0, 3),
}


@st.composite
def catalogues(draw):
    """Draw the items of a catalogue, in the order of their ids."""
    ids = sorted(draw(st.sets(words, min_size=1, max_size=8)))
    return [{"item_id": item_id} | {name: draw(values) for name, values in VALUES.items()} for item_id in ids]


def quote(text, *, wild=("", "")):
    """Write a text as an expression has it."""
    escaped = "".join(f"\\{character}" if character in "\\\"'*" else character for character in text)
    return f'"{wild[0]}{escaped}{wild[1]}"'


def written(value):
    if isinstance(value, bool):
        return str(value).lower()
    return (
        quote(value.isoformat() if isinstance(value, datetime) else value)
        if not isinstance(value, int | float)
        else repr(value)
    )


LITERALS = {"text": words, "number": numbers | st.integers(0, 5), "time": times}


@st.composite
def clauses(draw):
    """Draw a condition: its text, and a function that evaluates it for one item."""
    name = draw(st.sampled_from(list(TYPES)))
    kind = TYPES[name]
    forms = ["presence"]
    forms += {
        "text": ["comparison", "membership", "search", "pattern"],
        "number": ["comparison", "membership"],
        "time": ["comparison", "membership"],
        "boolean": ["flag", "equality"],
        "texts": ["has", "has any"],
    }[kind]
    form = draw(st.sampled_from(forms))
    if form == "presence":
        return f"{name}:*", lambda item: item[name] is not None
    if form == "flag":
        return name, lambda item: item[name] is True
    if form == "equality":
        symbol, value = draw(st.sampled_from(["=", "!="])), draw(st.booleans())
        return (
            f"{name} {symbol} {written(value)}",
            lambda item: item[name] is not None and COMPARISONS[symbol](item[name], value),
        )
    if form == "comparison":
        symbol, value = draw(st.sampled_from(list(COMPARISONS))), draw(LITERALS[kind])
        return (
            f"{name}{symbol}{written(value)}",
            lambda item: item[name] is not None and COMPARISONS[symbol](item[name], value),
        )
    if form == "membership":
        listed = draw(st.lists(LITERALS[kind], min_size=1, max_size=7))
        return f"{name} IN [{', '.join(map(written, listed))}]", lambda item: item[name] in listed
    if form == "search":
        text = draw(words)
        return f"{name}:{quote(text)}", lambda item: item[name] is not None and text.casefold() in item[name].casefold()
    if form == "has":
        text = draw(words)
        return f"{name}:{quote(text)}", lambda item: text in (item[name] or ())
    if form == "has any":
        listed = draw(st.lists(words, min_size=1, max_size=7))
        return f"{name} in [{', '.join(map(quote, listed))}]", lambda item: bool(set(listed) & set(item[name] or ()))
    text, symbol = draw(words), draw(st.sampled_from(["=", "!="]))
    wild = draw(st.sampled_from([("*", ""), ("", "*"), ("*", "*")]))
    meets = {("*", ""): str.endswith, ("", "*"): str.startswith, ("*", "*"): operator.contains}[wild]
    return (
        f"{name} {symbol} {quote(text, wild=wild)}",
        lambda item: item[name] is not None and meets(item[name], text) == (symbol == "="),
    )


def joined(parts, word, function):
    text = f" {word} ".join(f"({text})" for text, _ in parts)
    return text, lambda item: reduce(function, (meets(item) for _, meets in parts))


def larger(expressions):
    several = st.lists(expressions, min_size=2, max_size=3)
    return (
        expressions.map(lambda part: (f"NOT ({part[0]})", lambda item: not part[1](item)))
        | several.map(lambda parts: joined(parts, "AND", operator.and_))
        | several.map(lambda parts: joined(parts, "or", operator.or_))
    )


@settings(max_examples=100, deadline=None)
@given(catalogues(), st.lists(st.recursive(clauses(), larger, max_leaves=6), min_size=4, max_size=4))
def test_random_expressions_select_what_a_plain_evaluation_selects(items, expressions):
    catalogue = serve(items)
    for text, meets in expressions:
        assert selected(catalogue, text) == [bool(meets(item)) for item in items], text


ITEM = dict.fromkeys(TYPES) | {"item_id": "a", "rating_count": 0}
FULL = {
    "item_id": "b",
    "title": "Red Shoe",
    "genres": ("Shoes",),
    "release_year": 2024,
    "rating_count": 3,
    "brand": "Acme",
    "price": 9.99,
    "in_stock": False,
    "tags": ("red", "sale"),
    "added": datetime(2024, 5, 17, 10, tzinfo=UTC),
}


@pytest.mark.parametrize(
    ("expression", "of_unknown", "of_known"),
    [
        ("price = 9.99", False, True),
        ("price != 9.99", False, False),
        ("NOT price = 9.99", True, False),
        ("NOT price != 9.99", True, True),
        ("price < 5 OR price >= 5", False, True),
        ("price:*", False, True),
        ("NOT price:*", True, False),
        ('brand != "Bolt"', False, True),
        ('brand != "A*"', False, False),
        ('brand < "B"', False, True),
        ("in_stock", False, False),
        ("NOT in_stock", True, True),
        ("in_stock != true", False, True),
        ('NOT tags:"sale"', True, False),
        ("tags:*", False, True),
        ('added > "2024-05-17T12:00:00+03:00"', False, True),
        ('added < "2024-05-17"', False, False),
        ("release_year >= 0", False, True),
        ("release_year != 5", False, True),
        ("rating_count >= 0", True, True),
        ('title:"SHOE"', False, True),
        ('title = "Red*"', False, True),
        ('item_id in ["b", "x"]', False, True),
        ('genres in ["Shoes"]', False, True),
    ],
)
def test_a_comparison_with_an_unknown_value_is_false(expression, of_unknown, of_known):
    assert selected(serve([ITEM, FULL]), expression) == [of_unknown, of_known]
