"""Find out whether a table holds ratings or events, and which of its columns says what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from cofactor_trainer.data.delimited_text import TextFormat
from cofactor_trainer.data.rating_files import KNOWN_NAMES, FileOptions, guess_columns, names_a_column
from cofactor_trainer.data.side_tables import column_key
from cofactor_trainer.data.table_files import is_text, read_header
from cofactor_trainer.data.text_detection import detect_format, read_first_record
from cofactor_trainer.errors import InputError

# The standard name first. Case, blanks, "-" and "_" do not count.
KNOWN_EVENT_NAMES = {
    "user": (*KNOWN_NAMES["user"], "visitor_id", "visitor", "client_id", "account_id", "member_id", "buyer_id"),
    "item": (
        *KNOWN_NAMES["item"],
        *("artist_id", "artist", "track_id", "track", "song_id", "song", "sku", "article_id", "article", "stock_code"),
        *("video_id", "content_id", "offer_id"),
    ),
    "event": ("event_type", "event", "action", "type", "behavior", "behaviour", "interaction", "event_name"),
    "count": ("count", "quantity", "qty", "plays", "play_count", "playcount", "clicks", "views", "weight", "n"),
    "time": (*KNOWN_NAMES["timestamp"], "event_time", "order_date", "invoice_date", "purchase_date", "ordered_at"),
}


@dataclass(frozen=True)
class EventColumns:
    """Names of the columns of a table of events.

    Attributes:
        user: column of user ids, 64-bit whole numbers or text.
        item: column of item ids, likewise.
        event: column of event types; None if all events are of one type.
        count: column of numbers above 0, such as quantities or plays; None if every row is one event.
        time: column of times, or None.
        rating: column of ratings, in which rows may have none; None to learn from events only.
    """

    user: str = "user_id"
    item: str = "item_id"
    event: str | None = None
    count: str | None = None
    time: str | None = None
    rating: str | None = None

    @classmethod
    def parse(cls, named: Mapping[str, str], *, has_ratings: bool = False) -> EventColumns:
        """Return the columns that ``user=NAME,item=NAME,...`` names; rating=NAME is for ``has_ratings`` only.

        Raises:
            InputError: a key is unknown, or user or item is missing.
        """
        keys = [field.name for field in fields(cls) if has_ratings or field.name != "rating"]
        unknown = [key for key in named if key not in keys]
        if unknown or not {"user", "item"} <= named.keys():
            problem = f"has {unknown[0]!r}" if unknown else "does not name both user and item"
            raise InputError(
                f"--columns of events {problem}: give user=NAME,item=NAME and any of event, count and time"
            )
        return cls(**named)

    def named(self) -> dict[str, str]:
        """Return the columns that the table has, by what they say."""
        return {field.name: name for field in fields(self) if (name := getattr(self, field.name)) is not None}


@dataclass(frozen=True)
class EventTable:
    """A table of events: its format, its columns, and the columns that are not used."""

    text_format: TextFormat
    columns: EventColumns
    unused: tuple[str, ...] = ()


def is_event_table(path: Path, options: FileOptions) -> bool:
    """Return True if a table has events: users, items, no rating, and either nothing else or a column of events.

    Raises:
        InputError: the table has ratings and types of events, or neither.
    """
    if not path.exists() or options.has_header is False:
        return False
    header = _header(path, options)
    if not header or not names_a_column(header, KNOWN_EVENT_NAMES):
        return False
    found = _guess(header)
    has_rating = guess_columns(header).rating in header
    if found.event is not None and has_rating:
        raise InputError(
            f"the table has both ratings (column {guess_columns(header).rating}) and events (column {found.event}): "
            "pass --feedback both to learn ratings from the rated rows and an order from all rows, --feedback events "
            "to learn from every row as an event, or --feedback ratings to learn from ratings",
            path,
            line=1 if is_text(path) else None,
        )
    if has_rating or not {found.user, found.item} <= set(header):
        return False
    others = [name for name in header if name not in found.named().values()]
    return found.event is not None or found.count is not None or not others


def detect_event_table(
    path: Path, columns: EventColumns | None, options: FileOptions, *, has_ratings: bool = False
) -> EventTable:
    """Find the format and the columns of a table of events; with ``has_ratings`` one of ratings and events.

    Raises:
        InputError: a column is missing; the message says how to name it.
    """
    if not is_text(path):
        text_format = TextFormat.of_file(path, options.encoding)
        header = read_header(path, text_format)
    else:
        text_format = detect_format(path, options.encoding, 2, options.delimiter)
        header = read_first_record(path, text_format)
        if options.has_header is False or (options.has_header is None and not _looks_like_header(header, columns)):
            header = [str(number + 1) for number in range(len(header))]
            text_format = replace(text_format, column_names=tuple(header))
            if columns is None:
                raise InputError(
                    "the file has no header, so it does not say what its columns mean: number them, as in --columns "
                    "user=1,item=2,time=3",
                    path,
                    line=1,
                )
    columns = columns or _guess(header)
    if has_ratings and columns.rating is None:
        columns = replace(columns, rating=guess_columns(header).rating)
    missing = [(kind, name) for kind, name in columns.named().items() if name not in header]
    if missing:
        kind, name = missing[0]
        raise InputError(
            f"there is no column {name!r} for the {kind} among {', '.join(header)}: name the columns with --columns "
            f"user=NAME,item=NAME{',rating=NAME' * has_ratings} and any of event=NAME, count=NAME and time=NAME",
            path,
            line=1 if is_text(path) else None,
        )
    used = set(columns.named().values())
    return EventTable(text_format, columns, tuple(name for name in header if name not in used))


def _header(path: Path, options: FileOptions) -> list[str]:
    if not is_text(path):
        return read_header(path, TextFormat.of_file(path, options.encoding))
    return read_first_record(path, detect_format(path, options.encoding, 2, options.delimiter))


def _looks_like_header(first: Sequence[str], columns: EventColumns | None) -> bool:
    if columns is not None:
        return not all(name.isdecimal() for name in columns.named().values())
    return names_a_column(first, KNOWN_EVENT_NAMES)


def _guess(header: Sequence[str]) -> EventColumns:
    """Find usual names in a header, in any spelling; the standard names for a user or an item that is not found."""
    by_key = {column_key(name): name for name in reversed(header)}
    found = {
        kind: next((by_key[column_key(name)] for name in known if column_key(name) in by_key), None)
        for kind, known in KNOWN_EVENT_NAMES.items()
    }
    return EventColumns(
        found["user"] or "user_id", found["item"] or "item_id", *(found[k] for k in ("event", "count", "time"))
    )
