"""Read ratings from CSV, TSV and Parquet files with named columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cofactor_trainer.data.checked_batch import CheckedBatch
from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.dataset_builder import RatingScale, RatingsChunk, build_dataset
from cofactor_trainer.data.delimited_text import TextFormat
from cofactor_trainer.data.side_tables import read_items, read_profiles
from cofactor_trainer.data.table_files import check_columns, read_batches, read_header

# In lower case, the standard name first.
_KNOWN_NAMES = {
    "user": ("user_id", "userid", "user", "customer_id", "uid"),
    "item": ("item_id", "itemid", "item", "movie_id", "movieid", "movie", "product_id", "book_id", "iid"),
    "rating": ("rating", "score", "stars"),
    "timestamp": ("timestamp", "time", "unix_timestamp", "ts"),
}


@dataclass(frozen=True)
class ColumnNames:
    """Names of the columns of a table of ratings.

    Attributes:
        user: column of user ids, 64-bit whole numbers or text.
        item: column of item ids, likewise.
        rating: column of numbers.
        timestamp: column of seconds since 1970; a table need not have it.
    """

    user: str = "user_id"
    item: str = "item_id"
    rating: str = "rating"
    timestamp: str = "timestamp"


def read_ratings(
    path: Path,
    columns: ColumnNames | None = None,
    *,
    encoding: str = "utf-8",
    items_path: Path | None = None,
    users_path: Path | None = None,
    scale: RatingScale | None = None,
) -> RatingsDataset:
    """Read the ratings of one file.

    Args:
        path: a .csv, .tsv, .tab, .txt or .parquet file; text may be gzipped (.gz).
        columns: names of the columns; None to look for usual names (user_id, userId, user, …).
        encoding: of text files.
        items_path: table with the item column and any of title, genres ("A|B") and year.
        users_path: table with the user column; every other column is a sign-up answer.
        scale: lowest and highest possible rating; None for the range that the ratings span.

    Raises:
        InputError: a file is unusable; the message names the line and the column.
    """
    names = columns or guess_columns(read_header(path, encoding))
    return build_dataset(
        path.name,
        read_chunks(path, names, TextFormat.of_file(path, encoding)),
        items=None if items_path is None else read_items(items_path, names.item, encoding),
        profiles=None if users_path is None else read_profiles(users_path, names.user, encoding),
        scale=scale,
        source=path,
    )


def guess_columns(header: list[str]) -> ColumnNames:
    """Find usual column names in a header, in any case; fall back to the standard names."""
    by_lower = {name.lower(): name for name in reversed(header)}
    found = {
        kind: next((by_lower[name] for name in known if name in by_lower), known[0])
        for kind, known in _KNOWN_NAMES.items()
    }
    return ColumnNames(**found)


def read_chunks(path: Path, columns: ColumnNames, text_format: TextFormat) -> Iterator[RatingsChunk]:
    """Yield the ratings of a file in chunks."""
    first_record = 0
    for records in read_batches(path, text_format):
        check_columns(records, path, (columns.user, columns.item, columns.rating))
        batch = CheckedBatch(records, path, text_format, first_record)
        yield RatingsChunk(
            user_ids=batch.ids(columns.user),
            item_ids=batch.ids(columns.item),
            ratings=batch.ratings(columns.rating),
            timestamps=batch.timestamps(columns.timestamp),
        )
        first_record += records.num_rows
