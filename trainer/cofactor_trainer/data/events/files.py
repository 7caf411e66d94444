"""Read events from text, Parquet and JSON files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from cofactor_trainer.data.checked_batch import CheckedBatch
from cofactor_trainer.data.dataset import BoolArray, Float32Array, RatingsDataset
from cofactor_trainer.data.dataset_builder import RatingScale, RatingsChunk, check_sides, collect
from cofactor_trainer.data.events.columns import EventColumns, EventTable, detect_event_table
from cofactor_trainer.data.events.feedback import EventSettings, EventType
from cofactor_trainer.data.events.rated_rows import with_scale
from cofactor_trainer.data.events.summary import describe_events, with_ratings_described
from cofactor_trainer.data.item_descriptions import ItemDescription, build_catalogue, unrated_items
from cofactor_trainer.data.plausibility import warn_of_similar_ids
from cofactor_trainer.data.rating_files import FileOptions, PredefinedParts, select_chunk
from cofactor_trainer.data.side_tables import match_items, match_profiles, read_profiles
from cofactor_trainer.data.table_files import check_columns, is_json, is_text, read_batches, table_parts
from cofactor_trainer.data.text_detection import delimiter_name
from cofactor_trainer.data.times import TimeReader, compact_seconds, to_seconds
from cofactor_trainer.errors import InputError


def read_events(
    path: Path,
    columns: EventColumns | None = None,
    *,
    settings: EventSettings | None = None,
    items_path: Path | None = None,
    users_path: Path | None = None,
    options: FileOptions | None = None,
    parts: PredefinedParts | None = None,
    has_ratings: bool = False,
    scale: RatingScale | None = None,
) -> RatingsDataset:
    """Read the events of one file, or of one file for each part of a predefined split.

    Args:
        path: a file of delimited text, JSON lines (.jsonl) or Parquet, or a folder of Parquet files; text may be in a
            .gz or .zip file.
        columns: names of the columns; None to look for usual names (user_id, item_id, event_type, quantity, time, …).
        settings: weights of the types, and how weights add up.
        items_path: table with the item column and any of title, genres ("A|B"), year and further attributes.
        users_path: table with the user column; every other column is a sign-up answer.
        options: how to read the files.
        parts: how the files say which events are held out; None if they do not.
        has_ratings: True to read the ratings of the rows that have one, too.
        scale: lowest and highest possible rating; None for the range that the ratings span.

    Raises:
        InputError: a file is unusable; the message names the line and the column.
    """
    options, settings, parts = options or FileOptions(), settings or EventSettings(), parts or PredefinedParts()
    detect = partial(detect_event_table, columns=columns, options=options, has_ratings=has_ratings)
    sources = [(part, detect(part)) for part in table_parts(path)]
    table, times, found = sources[0][1], TimeReader(), FoundTypes(settings)
    items = items_path and options.read_items(items_path, table.columns.item)
    profiles = users_path and read_profiles(users_path, options.users_id_column or table.columns.user, options.encoding)
    if parts.path is not None:
        sources.append((parts.path, detect(parts.path)))
    chunks = chain.from_iterable(_read_chunks(*source, times, found, parts) for source in sources)
    dataset = build_events(path.name, chunks, found, items=items.descriptions if items else None, source=path)
    if items:
        dataset = items.describe_all(dataset)
    if has_ratings:
        dataset = with_ratings_described(with_scale(dataset, scale, path))
    notes = [_describe(path, table, times), *dataset.notes]
    if items:
        notes.append(match_items(items, dataset.catalogue.item_ids))
    if profiles:
        frame = profiles.frame.reindex(list(dataset.user_ids)).reset_index(drop=True)
        dataset = replace(dataset, profiles=frame)
        notes.append(match_profiles(profiles, dataset.user_ids))
    held_out_by = "" if parts == PredefinedParts() else parts.describe()
    return replace(dataset, notes=tuple(notes), held_out_by=held_out_by)


def build_events(
    name: str,
    chunks: Iterable[RatingsChunk],
    found: FoundTypes,
    *,
    items: Mapping[str, ItemDescription] | None = None,
    source: Path | None = None,
) -> RatingsDataset:
    """Collect chunks of events, whose ratings are the weights that ``found`` gave, into a dataset.

    Raises:
        InputError: there are no events, there is only one user or item, or the types are not those of the settings.
    """
    collected = collect(chunks)
    types = found.types(source)
    if not len(collected.ratings):
        raise InputError("the file has no events", source)
    has_times = len(collected.timestamps) == len(collected.ratings)
    timestamps = compact_seconds(to_seconds(collected.timestamps)) if has_times else None
    dataset = RatingsDataset(
        name=name,
        user_ids=collected.user_ids,
        catalogue=build_catalogue(collected.item_ids, items or {}),
        unrated=unrated_items(collected.item_ids, items or {}),
        user_rows=collected.user_rows,
        item_rows=collected.item_rows,
        ratings=collected.ratings,
        timestamps=timestamps,
        rating_min=0.0,
        rating_max=0.0,
        held_out=collected.held_out if len(collected.held_out) else None,
        events=found.settings.describe(types, None if timestamps is None else float(timestamps.max())),
        given_ratings=collected.given_ratings if len(collected.given_ratings) else None,
    )
    check_sides(dataset, source, "events")
    warn_of_similar_ids("user", dataset.user_ids)
    warn_of_similar_ids("item", collected.item_ids)
    return replace(dataset, notes=tuple(describe_events(dataset, found.left_out())))


def _read_chunks(
    path: Path, table: EventTable, times: TimeReader, found: FoundTypes, parts: PredefinedParts
) -> Iterator[RatingsChunk]:
    """Yield the events of a file in chunks, each with its weight times its count; types of weight 0 are left out."""
    columns, first_record = table.columns, 0
    required = (*columns.named().values(), *(() if parts.column is None else (parts.column,)))
    for records in read_batches(path, table.text_format):
        check_columns(records, path, required, table.text_format)
        batch = CheckedBatch(records, path, table.text_format, first_record)
        counts = np.ones(records.num_rows) if columns.count is None else batch.counts(columns.count)
        weights, is_used = found.weigh(None if columns.event is None else batch.event_types(columns.event), counts)
        chunk = RatingsChunk(
            user_ids=batch.ids(columns.user),
            item_ids=batch.ids(columns.item),
            ratings=weights,
            timestamps=None if columns.time is None else times.read_all(partial(batch.times, columns.time)),
            held_out=_held_out(batch, path, parts),
            given_ratings=None if columns.rating is None else batch.ratings_or_nan(columns.rating),
        )
        yield chunk if is_used.all() else select_chunk(chunk, is_used)
        first_record += records.num_rows


def _held_out(batch: CheckedBatch, path: Path, parts: PredefinedParts) -> BoolArray | None:
    if parts.column is not None:
        return batch.held_out(parts.column, parts.value)
    return None if parts.path is None else np.full(batch.records.num_rows, path == parts.path)


class FoundTypes:
    """Weighs events by their types, and counts the types."""

    def __init__(self, settings: EventSettings) -> None:
        self.settings = settings
        self._counts: dict[str, float] = defaultdict(float)
        self._has_types = False

    def weigh(self, types: pa.DictionaryArray | None, counts: np.ndarray) -> tuple[Float32Array, BoolArray]:
        """Return the weight of every event times its count, 0 for a negative one, and a mask of the used ones.

        types (n,) or None for a table without types, counts (n,) -> (n,), (n,).
        """
        if types is None:
            self._counts[""] += float(counts.sum())
            return counts.astype(np.float32), np.ones(len(counts), bool)
        self._has_types = True
        names, codes = types.dictionary.to_pylist(), types.indices.to_numpy()
        for name, total in zip(names, np.bincount(codes, counts, len(names)), strict=True):
            self._counts[name] += float(total)
        # Unknown types are an error, but only after the whole file is read: the message lists all types.
        known = [self.settings.weight_of(name) for name in names]
        is_used = np.array(
            [bool(weight) or name in self.settings.negative for name, weight in zip(names, known, strict=True)]
        )
        weights = np.array([weight or 0.0 for weight in known])[codes] * counts
        return weights.astype(np.float32), is_used[codes]

    def types(self, path: Path | None) -> tuple[EventType, ...]:
        """Return the types of the file that are used.

        Raises:
            InputError: the settings name a type that the file lacks, or the file has a type that they do not name.
        """
        settings, listed = (
            self.settings,
            ", ".join(f"{name} ({count:,.0f})" for name, count in sorted(self._counts.items())),
        )
        named = [*(settings.weights or {}), *settings.negative]
        if named and not self._has_types:
            raise InputError(
                "the table has no column of event types, so --events and --negative-events do not apply: name the "
                "column with --columns user=NAME,item=NAME,event=NAME, or leave the flags out",
                path,
            )
        for name in named:
            if name not in self._counts:
                raise InputError(f"no event has the type {name!r}: the types are {listed}", path)
        unknown = [name for name in self._counts if settings.weight_of(name) is None]
        if unknown:
            raise InputError(
                f"--events has no weight for the type {unknown[0]!r}: the types are {listed}; give it a weight, or 0 "
                "to leave it out",
                path,
            )
        types = [
            EventType(name, settings.weight_of(name) or 0.0, name in settings.negative, count)
            for name, count in sorted(self._counts.items())
        ]
        used = tuple(kind for kind in types if kind.weight or kind.is_negative)
        if not any(kind.weight for kind in used) and used:
            raise InputError(f"all types are negative ({listed}): name the others with --events", path)
        return used

    def left_out(self) -> dict[str, float]:
        """Return the number of events of every type that weighs 0."""
        return {name: count for name, count in self._counts.items() if self._is_left_out(name)}

    def _is_left_out(self, name: str) -> bool:
        return name not in self.settings.negative and not self.settings.weight_of(name)


def _describe(path: Path, table: EventTable, times: TimeReader) -> str:
    """Say what was detected and used."""
    kind = "Parquet" if path.is_file() else f"Parquet, files: {len(table_parts(path))}"
    if is_text(path):
        header = "with header" if table.text_format.column_names is None else "without header"
        kind = f"separated by {delimiter_name(table.text_format.delimiter)}, {header}"
    elif is_json(path):
        kind = "JSON lines"
    columns = ", ".join(f"{what} {name}" for what, name in table.columns.named().items())
    columns += f" ({times.describe()})" if table.columns.time else ", no times"
    unused = f"; not used: {', '.join(table.unused)}" if table.unused else ""
    return f"events: {path.name}, {kind}; columns: {columns}{unused}"
