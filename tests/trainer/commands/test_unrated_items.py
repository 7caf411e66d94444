"""`cofactor-train train` keeps the items of --items without ratings, or drops them on request."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from cofactor_trainer.__main__ import main
from cofactor_trainer.data.rating_files import read_ratings
from cofactor_trainer.export.version_reader import read_version

N_USERS, N_ITEMS = 30, 20


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Return a table of ratings, and one of its items and two others; drama and war are rated 5, the others 1 or 2."""
    folder = tmp_path_factory.mktemp("tables")
    random = np.random.default_rng(0)
    # Four genres have as many columns as a template of embed_item needs; torch takes seconds to trace a graph.
    genres = [("Comedy", "Drama", "Horror", "War")[number % 4] for number in range(N_ITEMS)]
    rows = [
        (f"u{user:02}", f"i{item:02}", 5 if genres[item] in ("Drama", "War") else random.integers(1, 3))
        for user in range(N_USERS)
        for item in random.permutation(N_ITEMS)[:15]
    ]
    (folder / "ratings.csv").write_text("user,item,rating\n" + "".join(f"{u},{i},{r}\n" for u, i, r in rows))
    items = [*((f"i{number:02}", genre, "small") for number, genre in enumerate(genres))]
    items += [("a-drama", "Drama", "large"), ("z-comedy", "Comedy", "large")]
    (folder / "items.csv").write_text("item,genres,size\n" + "".join(f"{','.join(item)}\n" for item in items))
    return folder


def run(tables, output, *flags):
    """Train one version and return it."""
    files = ["--dataset", str(tables / "ratings.csv"), "--items", str(tables / "items.csv")]
    options = ["--epochs", "3", "--validation-fraction", "0", "--no-ranking-part", "--name", "m", "--version", "1"]
    assert main(["train", *files, *options, "--output", str(output), *flags]) == 0
    return read_version(output / "m" / "1")


def ids_of(version):
    offsets, text = version.tables["item_ids.offsets"], version.tables["item_ids.bytes"].tobytes()
    return [text[start:end].decode() for start, end in pairwise(offsets)]


def test_a_table_of_items_tells_of_items_without_ratings(tables):
    dataset = read_ratings(tables / "ratings.csv", items_path=tables / "items.csv")
    assert list(dataset.unrated.item_ids) == ["a-drama", "z-comedy"]
    assert dataset.unrated.genres[0] == ("Drama",)
    assert [column.value(1) for column in dataset.unrated.attributes.columns] == ["large"]
    assert dataset.n_items == N_ITEMS


def test_items_without_ratings_are_exported_and_counted(tables, tmp_path, capsys):
    version = run(tables, tmp_path)
    assert "2 described items without ratings are part of the catalogue" in capsys.readouterr().out
    assert ids_of(version) == ["a-drama", *(f"i{number:02}" for number in range(N_ITEMS)), "z-comedy"]
    assert (version.manifest.item_count, version.manifest.unrated_item_count) == (N_ITEMS + 2, 2)
    counts = version.tables["item_rating_counts"]
    assert (counts[0], counts[-1], counts.sum()) == (0, 0, N_USERS * 15)
    assert {feature.key for feature in version.manifest.item_features} <= {"genres", "size"}


def test_items_without_ratings_are_dropped_on_request(tables, tmp_path, capsys):
    version = run(tables, tmp_path, "--drop-unrated-items")
    assert "2 described items without ratings are left out" in capsys.readouterr().out
    assert (version.manifest.item_count, version.manifest.unrated_item_count) == (N_ITEMS, 0)
