"""Read tables that describe items and users."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from cofactor_trainer.data.delimited_text import TextFormat
from cofactor_trainer.data.item_descriptions import ItemDescription, split_genres, year_of_title
from cofactor_trainer.data.table_files import check_columns, read_batches
from cofactor_trainer.errors import InputError


def read_items(path: Path, id_column: str, encoding: str = "utf-8") -> dict[str, ItemDescription]:
    """Read titles, genres and release years by item id; without a year column the year is that of the title."""
    frame = _read_by_id(path, id_column, encoding)
    by_lower = {name.lower(): name for name in frame.columns}

    def texts(name: str) -> pd.Series:
        return frame[by_lower[name]].fillna("") if name in by_lower else pd.Series("", index=frame.index)

    titles, genres = texts("title"), texts("genres")
    if "year" in by_lower:
        years = pd.to_numeric(frame[by_lower["year"]], errors="coerce").fillna(0)
    else:
        years = titles.map(year_of_title)
    return {
        item_id: ItemDescription(title, split_genres(genre), int(year))
        for item_id, title, genre, year in zip(frame.index, titles.astype(str), genres.astype(str), years, strict=True)
    }


def read_profiles(path: Path, id_column: str, encoding: str = "utf-8") -> pd.DataFrame:
    """Read sign-up answers by user id; a column becomes numeric if all its values are numbers."""
    frame = _read_by_id(path, id_column, encoding)
    for name in frame.columns:
        try:
            frame[name] = pd.to_numeric(frame[name])
        except (ValueError, TypeError):
            continue
    return frame


def _read_by_id(path: Path, id_column: str, encoding: str) -> pd.DataFrame:
    """Read a small table and index it by its ids; the last row of an id wins."""
    batches = list(read_batches(path, TextFormat.of_file(path, encoding)))
    if not batches:
        raise InputError("the file has no rows", path)
    check_columns(batches[0], path, (id_column,))
    frame: pd.DataFrame = pa.Table.from_batches(batches).to_pandas()
    frame[id_column] = frame[id_column].astype(str)
    return frame.drop_duplicates(id_column, keep="last").set_index(id_column)
