"""Read tables that describe items and users, and match them with the ratings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from cofactor_trainer.data.attribute_columns.reader import read_attributes
from cofactor_trainer.data.attribute_columns.source import AttributeSource, list_separator
from cofactor_trainer.data.dataset import Catalogue
from cofactor_trainer.data.delimited_text import TextFormat
from cofactor_trainer.data.item_attributes import NO_ATTRIBUTES, ItemAttributes
from cofactor_trainer.data.item_descriptions import ItemDescription, split_genres, year_of_title
from cofactor_trainer.data.plausibility import MISSING_ANSWERS, MISSING_NUMBERS, bound_answers, likely_cause
from cofactor_trainer.data.table_files import as_texts, is_text, read_batches
from cofactor_trainer.data.text_detection import detect_format
from cofactor_trainer.errors import InputError

# Case, blanks, "-" and "_" do not count.
_ID_NAMES = {
    "item": ("item_id", "item", "movie_id", "movie", "product_id", "product", "book_id", "iid", "asin", "isbn", "id"),
    "user": ("user_id", "user", "customer_id", "customer", "uid", "reviewer_id", "username", "id"),
}
_ITEM_COLUMNS = {
    "title": ("title", "name", "item_name", "product_name", "movie_title", "product_title", "book_title"),
    "genres": ("genres", "genre", "categories", "category", "tags"),
    "year": ("year", "release_year", "publication_year", "year_of_publication", "release_date", "published"),
}
# pandas writes an index without a name so.
_UNNAMED_INDEX = "__index_level_0__"
_FIRST_YEAR, _LAST_YEAR = 1, 9999


@dataclass(frozen=True, kw_only=True)
class SideTable:
    """A table by id.

    Attributes:
        path: its file.
        id_column: name of its id column.
        columns: every column as text, (n_rows,), the id column included.
        notes: what to say about its columns.
    """

    path: Path
    id_column: str
    columns: Mapping[str, Sequence[str]]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ItemTable(SideTable):
    """A table of items; ``descriptions`` are by item id, ``attributes`` by row of the table."""

    descriptions: Mapping[str, ItemDescription]
    attributes: ItemAttributes = NO_ATTRIBUTES

    def describe(self, catalogue: Catalogue) -> Catalogue:
        """Add the attributes of its items to a catalogue; the last row of an item counts."""
        row_of = {value.strip(): row for row, value in enumerate(self.columns[self.id_column])}
        rows = np.array([row_of.get(item_id, -1) for item_id in catalogue.item_ids], np.int64)
        return replace(catalogue, attributes=self.attributes.select(rows))


@dataclass(frozen=True, kw_only=True)
class ProfileTable(SideTable):
    """A table of users; ``frame`` has their sign-up answers, indexed by user id."""

    frame: pd.DataFrame


def column_key(name: str) -> str:
    """Return the name of a column without case, blanks, "-" and "_"."""
    return re.sub(r"[\s_-]+", "", name).lower()


def read_items(
    path: Path, id_column: str, encoding: str = "utf-8", attribute_types: Mapping[str, str] | None = None
) -> ItemTable:
    """Read titles, genres, release years and further attributes by item id; without a year column titles have the year.

    attribute_types: types of columns by name ("ignore" for none); the types of other columns are detected.

    Raises:
        InputError: the file is unusable, has no id column or no other, or a value is not of its type.
    """
    table, id_name, text_format = _read(path, id_column, "item", encoding)
    columns = {name: as_texts(column) for name, column in table.items()}
    source = AttributeSource(path, text_format, attribute_types or {})
    source.check_names(list(columns), id_name)
    if len(columns) == 1:
        raise InputError("there is no column that describes the items beside the ids", path)
    found = {
        kind: next((name for known in names for name in columns if column_key(name) == column_key(known)), None)
        for kind, names in _ITEM_COLUMNS.items()
    }
    used = {kind: name for kind, name in found.items() if name not in (None, id_name)}
    blank = [""] * len(columns[id_name])
    titles, genres, years = (columns[used[kind]] if kind in used else blank for kind in _ITEM_COLUMNS)
    separator = list_separator(genres, allows_comma=used.get("genres", "").lower().endswith("s"))
    numbers = [_year(text) for text in years] if "year" in used else [year_of_title(title) for title in titles]
    n_bad = sum(text.strip() not in ("", "0") and not year for text, year in zip(years, numbers, strict=True))
    notes = [f"{kind} from {name}" for kind, name in used.items()]
    notes += [f"genres separated by {separator!r}"] if separator != "|" else []
    notes += [f"{n_bad:,} years are not from {_FIRST_YEAR} to {_LAST_YEAR} and not used"] if n_bad else []
    further = {name: column for name, column in table.items() if name != id_name and _is_attribute(name, used, source)}
    attributes, remarks = read_attributes(further, source)
    ids = [value.strip() for value in columns[id_name]]
    descriptions = {
        item_id: ItemDescription(title.strip(), split_genres(genre.replace(separator, "|")), year)
        for item_id, title, genre, year in zip(ids, titles, genres, numbers, strict=True)
    }
    return ItemTable(
        path=path,
        id_column=id_name,
        columns=columns,
        notes=(*notes, *remarks),
        descriptions=descriptions,
        attributes=attributes,
    )


def _is_attribute(name: str, used: Mapping[str, str], source: AttributeSource) -> bool:
    """Return True for a column that is none of title, genres and year, or says more: a category or a day."""
    if name in source.types or name not in used.values():
        return True
    if name == used.get("genres"):
        return column_key(name) not in ("genre", "genres")
    return name == used.get("year") and column_key(name) in ("releasedate", "published")


def read_profiles(path: Path, id_column: str, encoding: str = "utf-8") -> ProfileTable:
    """Read sign-up answers by user id; a column becomes numeric if all its answers are numbers.

    Raises:
        InputError: the file is unusable, or has no id column or no other.
    """
    table, id_name, _ = _read(path, id_column, "user", encoding)
    columns = {name: as_texts(column) for name, column in table.items()}
    if len(columns) == 1:
        raise InputError("there is no column of answers beside the ids", path)
    frame = pd.DataFrame(index=pd.Index([value.strip() for value in columns[id_name]], dtype=object))
    notes = []
    for name, column in table.items():
        if name != id_name:
            answers, kind, remarks = _answers(name, column, columns[name])
            frame[name] = answers.to_numpy()
            notes += [f"{name} ({kind})", *remarks]
    frame = frame[~frame.index.duplicated(keep="last")]
    return ProfileTable(path=path, id_column=id_name, columns=columns, notes=tuple(notes), frame=frame)


def match_items(table: ItemTable, item_ids: Sequence[str]) -> str:
    """Say how many rated items the table describes, and which columns were used.

    Raises:
        InputError: it describes none of them.
    """
    return _match(table, set(table.descriptions), item_ids, "items", "rated items")


def match_profiles(table: ProfileTable, user_ids: Sequence[str]) -> str:
    """Say how many users of the ratings the table describes, and how its columns were read.

    Raises:
        InputError: it describes none of them.
    """
    return _match(table, set(table.frame.index), user_ids, "users", "users")


def _match(table: SideTable, present: set[str], ids: Sequence[str], kind: str, noun: str) -> str:
    known = set(ids)
    n_matched = len(known & present)
    if not n_matched:
        raise InputError(_no_match(table, present, known, kind), table.path, column=table.id_column)
    n_rows = len(table.columns[table.id_column])
    text = f"{kind}: {table.path.name}, {n_rows:,} rows by {table.id_column}, {n_matched:,} of {len(known):,} {noun} "
    text += f"described; {', '.join(table.notes)}"
    cause = likely_cause(sorted(present - known), known - present) if n_matched < len(known) else None
    return text if cause is None else f"{text}; some ids match nothing, because {cause}"


def _no_match(table: SideTable, present: set[str], known: set[str], kind: str) -> str:
    message = f"none of its {len(present):,} ids is among the {len(known):,} {kind} of the ratings"
    for name, values in table.columns.items():
        n_matched = len(known.intersection(value.strip() for value in values))
        if name != table.id_column and n_matched:
            return f"{message}, but {n_matched:,} values of column {name} are: pass --{kind}-id-column {name}"
    cause = likely_cause(sorted(present), known)
    if cause is not None:
        return f"{message}: {cause}"
    examples = f"{min(present)!r} here, {min(known)!r} in the ratings"
    return f"{message} ({examples}): name the right column with --{kind}-id-column, or the right file"


def _read(path: Path, id_column: str, kind: str, encoding: str) -> tuple[dict[str, pa.Array], str, TextFormat]:
    """Return the columns of a small table, the name of the one that has the ids, and the format of the file."""
    text_format = detect_format(path, encoding, 2) if is_text(path) else TextFormat.of_file(path, encoding)
    batches = list(read_batches(path, text_format))
    table = pa.Table.from_batches(batches) if batches else None
    if table is None or not table.num_rows:
        raise InputError("the file has no rows", path)
    columns = {name: column.combine_chunks() for name, column in zip(table.column_names, table.columns, strict=True)}
    wanted = [id_column, *_ID_NAMES[kind]]
    found = (name for known in wanted for name in columns if name == id_column or column_key(name) == column_key(known))
    name = id_column if id_column in columns else next(found, None)
    if name is None and _UNNAMED_INDEX in columns:
        name = _UNNAMED_INDEX
    if name is None:
        raise InputError(
            f"there is no column {id_column!r} among {', '.join(columns)}: name the column of ids with "
            f"--{kind}s-id-column",
            path,
        )
    return columns, name, text_format


def _year(text: str) -> int:
    """Return the year of a number such as "1995" or "1995.0" or a date such as "1995-05-17"; 0 if there is none."""
    found = re.fullmatch(r"\s*(\d{1,4})(\.0*)?\s*|\s*(\d{4})-\d\d?(-\d\d?)?\b.*", text)
    year = int(found[1] or found[3]) if found else 0
    return year if _FIRST_YEAR <= year <= _LAST_YEAR else 0


def _answers(name: str, column: pa.Array, texts: Sequence[str]) -> tuple[pd.Series, str, list[str]]:
    """Return a column of answers as numbers or text with None for a missing one, its kind, and remarks."""
    if pa.types.is_boolean(column.type):
        return pd.Series([None if text == "" else text for text in texts], dtype=object), "text", []
    trimmed = [text.strip() for text in texts]
    written = [text for text in trimmed if text and text.lower() not in MISSING_NUMBERS]
    numbers = pd.to_numeric(pd.Series(written, dtype=object), errors="coerce")
    n_numbers = int(np.isfinite(numbers.to_numpy(dtype=np.float64)).sum()) if written else 0
    if written and not numbers.isna().any():
        is_given = np.array([bool(text) and text.lower() not in MISSING_NUMBERS for text in trimmed])
        values = np.full(len(trimmed), np.nan)
        values[is_given] = numbers.to_numpy(dtype=np.float64)
        bounded, remark = bound_answers(name, pd.Series(values))
        remarks = _missing_remark(name, [t for t in trimmed if t and t.lower() in MISSING_NUMBERS])
        return bounded, "numbers", remarks + ([remark] if remark else [])
    answers = [None if text.lower() in MISSING_ANSWERS else text for text in trimmed]
    remarks = _missing_remark(name, [t for t in trimmed if t and t.lower() in MISSING_ANSWERS])
    if n_numbers > len(written) // 2:
        odd = written[int(np.argmax(numbers.isna().to_numpy()))]
        remarks.append(f"{name} counts as text, because {odd!r} is not a number")
    return pd.Series(answers, dtype=object), "text", remarks


def _missing_remark(name: str, texts: Sequence[str]) -> list[str]:
    return [f"{len(texts):,} of {name} missing, such as {texts[0]!r}"] if texts else []
