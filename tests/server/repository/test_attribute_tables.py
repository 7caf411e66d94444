"""Versions whose attribute tables contradict the manifest or themselves are refused."""

from __future__ import annotations

import numpy as np
import pytest

from cofactor.v1.manifest_pb2 import ItemAttributeColumn, Manifest
from cofactor_server.repository.attribute_tables import attribute_layout, check_attribute_contents

N_ITEMS = 3
TIME = 1_700_000_000_000_000


def version(name="x", kind="number", **tables):
    """Return the manifest and the tables of a version of three items with one attribute."""
    manifest = Manifest(item_count=N_ITEMS, item_attributes=[ItemAttributeColumn(name=name, type=kind)])
    return manifest, {f"item_attributes.x.{part.replace('_', '.')}": array for part, array in tables.items()}


def text(codes, n_texts=2, dtype=np.int8, **tables):
    offsets = np.arange(n_texts + 1, dtype=np.int64)
    texts = {"texts_bytes": np.zeros(n_texts, np.uint8), "texts_offsets": offsets}
    return {"values": np.array(codes, dtype), **texts, **tables}


GOOD = {
    "number": {"values": np.array([1.5, np.nan, -2])},
    "time": {"values": np.array([TIME, np.iinfo(np.int64).min, 0])},
    "boolean": {"values": np.array([1, -1, 0], np.int8)},
    "text": text([1, -1, 0]),
    "texts": text([0, 1, 1], offsets=np.array([0, 2, 2, 3])),
}


@pytest.mark.parametrize("kind", GOOD)
def test_the_tables_of_every_type_are_accepted(kind):
    manifest, tables = version(kind=kind, **GOOD[kind])
    layout = attribute_layout(manifest, tables)
    assert layout.keys() == tables.keys()
    for name, (dtype, shape) in layout.items():
        assert tables[name].dtype == dtype
        assert all(expected in (-1, actual) for expected, actual in zip(shape, tables[name].shape, strict=True))
    check_attribute_contents(manifest, tables)


@pytest.mark.parametrize(
    ("kind", "tables", "said"),
    [
        ("number", {"values": np.array([1, np.inf, 2])}, "a number that is infinite"),
        ("boolean", {"values": np.array([0, 2, 1], np.int8)}, "not -1, 0 or 1"),
        ("time", {"values": np.array([TIME, 2**62, 0])}, "outside the years 1 to 9999"),
        ("text", text([0, 2, 1]), "an index outside its range"),
        ("text", text([0, -2, 1]), "an index outside its range"),
        ("texts", text([0, -1, 1], offsets=np.array([0, 2, 2, 3])), "an index outside its range"),
        ("texts", text([0, 1, 1], offsets=np.array([0, 2, 1, 3])), "offsets does not fit its lists"),
        ("texts", text([0, 1, 1], offsets=np.array([0, 1, 2, 2])), "offsets does not fit its lists"),
    ],
)
def test_contents_that_no_training_gives_are_refused(kind, tables, said):
    with pytest.raises(ValueError, match=said):
        check_attribute_contents(*version(kind=kind, **tables))


@pytest.mark.parametrize("name", ["", "2nd", "in stock", "a-b", "title", "rating_count"])
def test_names_that_expressions_could_not_use_are_refused(name):
    with pytest.raises(ValueError, match="not allowed or repeated"):
        attribute_layout(*version(name=name))


def test_repeated_names_and_unknown_types_are_refused():
    entry = ItemAttributeColumn(name="x", type="number")
    with pytest.raises(ValueError, match="'x', which is not allowed or repeated"):
        attribute_layout(Manifest(item_attributes=[entry, entry]), {})
    with pytest.raises(ValueError, match="the attribute x of the unknown type 'colour'"):
        attribute_layout(*version(kind="colour"))


def test_positions_of_another_element_type_do_not_fit_the_layout():
    manifest, tables = version(kind="text", **text([0, 1, 1], dtype=np.int64))
    assert attribute_layout(manifest, tables)["item_attributes.x.values"] == ("int32", (N_ITEMS,))
