"""Declare the flags of events, and load the events that they describe."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

from cofactor_trainer.data.dataset import RatingsDataset
from cofactor_trainer.data.events.feedback import EventSettings
from cofactor_trainer.errors import InputError

if TYPE_CHECKING:
    from cofactor_trainer.data.events.columns import EventColumns
    from cofactor_trainer.data.rating_files import FileOptions

_TYPE_FLAGS = ("events", "negative_events")
_WEIGHT_FLAGS = (*_TYPE_FLAGS, "half_life", "weight_cap", "log_weights", "recency")
DEMO_SHOP = "demo-shop"
# Of --feedback both, for the commands that look at the loss of one training.
OF_RATINGS = (
    "this looks at the training on the ratings of the table, which the flags of a recipe belong to: pass --feedback "
    "events for a training on its events"
)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def add_event_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that say which events count how much."""
    group = parser.add_argument_group("events instead of ratings")
    group.add_argument(
        "--feedback",
        choices=("ratings", "events", "both"),
        help="what the rows of the dataset are: ratings, events, or events of which some have a rating, to learn the "
        "ratings from these and the order from all (default: events if the file has users and items, but no ratings)",
    )
    group.add_argument(
        "--events",
        type=parse_weights,
        metavar="TYPE=W[,TYPE=W]",
        help="weight of one event by type, such as purchase=5,cart=2,view=0.5; 0 leaves it out (default: 1 for all)",
    )
    group.add_argument(
        "--negative-events",
        type=parse_names,
        metavar="TYPE[,TYPE]",
        help="types that mean that the user does not want the item, such as return",
    )
    group.add_argument(
        "--half-life",
        type=parse_duration,
        metavar="DURATION",
        help="age after which an event counts half, such as 90d, 12h or 8w (default: the age does not count)",
    )
    group.add_argument(
        "--weight-cap",
        type=_parse_cap,
        metavar="W",
        help="largest weight of an item for a user, to which repeated events add up; 0 for no limit (default: the "
        "weight of the heaviest type, or no limit with --log-weights)",
    )
    group.add_argument(
        "--recency",
        action="store_true",
        help="let the latest events of new users count more, by their order; how much is found from the last events",
    )
    group.add_argument("--log-weights", action="store_true", help="take the logarithm of what the events add up to")
    group.add_argument(
        "--positive-from",
        type=_parse_threshold,
        metavar="RATING",
        help="turn ratings into events: those from here on are events, items that are rated lower are not recommended",
    )


def learns_from_events(arguments: argparse.Namespace) -> bool:
    """Return True if the dataset that the flags name has events, or ratings that become events."""
    if arguments.positive_from is not None or arguments.feedback is not None:
        return arguments.positive_from is not None or arguments.feedback in ("events", "both")
    if is_demo_shop(arguments):
        return True
    from cofactor_trainer.data.table_files import table_parts

    path = table_parts(Path(arguments.dataset))[0]
    if not path.is_file():
        return False
    named = parse_named_columns(arguments.columns)
    if arguments.columns is not None:
        return named is not None and "rating" not in named
    from cofactor_trainer.data.events.columns import is_event_table

    return is_event_table(path, file_options(arguments))


def is_demo_shop(arguments: argparse.Namespace) -> bool:
    """Return True if the flags name the generated shop."""
    return arguments.dataset == DEMO_SHOP and not Path(DEMO_SHOP).exists()


def load_demo(arguments: argparse.Namespace) -> RatingsDataset:
    """Load the generated shop.

    Raises:
        InputError: the flags ask for ratings.
    """
    from cofactor_trainer.data.events.demo_shop import load_demo_shop

    if arguments.feedback in ("ratings", "both") or arguments.positive_from is not None:
        flag = "--positive-from" if arguments.positive_from is not None else f"--feedback {arguments.feedback}"
        raise InputError(f"{flag} is for ratings, but {DEMO_SHOP} has events: leave it out")
    return load_demo_shop(event_settings(arguments))


def check_event_flags(arguments: argparse.Namespace) -> None:
    """Reject flags of events that have no effect on a dataset of ratings, or contradict each other.

    Raises:
        InputError: a flag does not apply.
    """
    if arguments.positive_from is not None and arguments.feedback in ("events", "both"):
        says = "there are none" if arguments.feedback == "events" else "they are to be predicted"
        raise InputError(
            f"--positive-from turns ratings into events, but --feedback {arguments.feedback} says that {says}: "
            "leave out one of them"
        )
    names: tuple[str, ...] = _WEIGHT_FLAGS
    what = f"the ratings of {arguments.dataset}"
    if arguments.positive_from is not None:
        names, what = _TYPE_FLAGS, "ratings with --positive-from"
    elif learns_from_events(arguments):
        return
    for name in names:
        if getattr(arguments, name) not in (None, False):
            raise InputError(
                f"--{name.replace('_', '-')} does not apply to {what}: leave it out, or pass --feedback events if the "
                "rows are events"
            )


def event_settings(arguments: argparse.Namespace) -> EventSettings:
    """Return how the flags weigh events."""
    return EventSettings(
        arguments.events,
        arguments.negative_events or (),
        arguments.half_life or 0.0,
        arguments.weight_cap,
        arguments.log_weights,
    )


def load_events(path: Path, arguments: argparse.Namespace) -> RatingsDataset:
    """Load the events of a file."""
    from cofactor_trainer.data.dataset_builder import RatingScale
    from cofactor_trainer.data.events.files import read_events
    from cofactor_trainer.data.rating_files import PredefinedParts

    has_ratings = arguments.feedback == "both"
    for flag in ("missing",) if has_ratings else ("scale", "missing"):
        if getattr(arguments, flag) is not None:
            remedy = "leave the ratings empty instead" if has_ratings else "leave it out"
            raise InputError(f"--{flag} is for ratings, but {arguments.dataset} has events: {remedy}")
    return read_events(
        path,
        _event_columns(arguments.columns, has_ratings=has_ratings),
        settings=event_settings(arguments),
        options=file_options(arguments),
        items_path=arguments.items,
        users_path=arguments.users,
        parts=PredefinedParts(arguments.split_column, arguments.held_out_value, arguments.validation_ratings),
        has_ratings=has_ratings,
        scale=None if arguments.scale is None else RatingScale(*arguments.scale),
    )


def file_options(arguments: argparse.Namespace) -> FileOptions:
    """Return how the flags say to read files."""
    from cofactor_trainer.data.rating_files import FileOptions

    return FileOptions(
        encoding=arguments.encoding or "utf-8",
        delimiter=arguments.delimiter,
        has_header=True if arguments.header else False if arguments.no_header else None,
        missing=arguments.missing or (),
        items_id_column=arguments.items_id_column,
        users_id_column=arguments.users_id_column,
        item_attributes=arguments.item_attributes or {},
    )


def parse_named_columns(text: str | None) -> dict[str, str] | None:
    """Parse ``user=NAME,item=NAME,...``; return None for names by position, or none."""
    if text is None or "=" not in text:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    named = {key.strip(): name.strip() for key, _, name in pairs}
    if len(named) < len(pairs) or not all(named.values()) or not all(named):
        raise InputError(f"--columns is {text!r}: give user=NAME,item=NAME,... with every column once")
    return named


def _event_columns(text: str | None, *, has_ratings: bool) -> EventColumns | None:
    from cofactor_trainer.data.events.columns import EventColumns

    if text is None:
        return None
    named = parse_named_columns(text)
    if named is None:
        raise InputError(
            f"--columns is {text!r}, which names the columns of ratings: for events give user=NAME,item=NAME and any "
            "of event=NAME, count=NAME and time=NAME"
        )
    return EventColumns.parse(named, has_ratings=has_ratings)


def parse_weights(text: str) -> dict[str, float]:
    """Parse weights by type such as "purchase=5,view=0.5"."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = [word.strip() for word in part.rpartition("=")]
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not (name and equals and 0 <= weight < 1e9):
            raise argparse.ArgumentTypeError(f"{part.strip()!r} is not a type with its weight, as in purchase=5")
        if name in weights:
            raise argparse.ArgumentTypeError(f"the type {name!r} has two weights: leave out one")
        weights[name] = weight
    return weights


def parse_names(text: str) -> tuple[str, ...]:
    """Parse names such as "return,dislike"."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of event types such as return,dislike")
    return names


def parse_duration(text: str) -> float:
    """Parse a duration such as "90d", "12h" or "8w", in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip())
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0 < seconds < 1e12:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration above 0 such as 90d, 12h or 8w (s, m, h, d, w)")
    return seconds


def _parse_cap(text: str) -> float:
    try:
        cap = float(text)
    except ValueError:
        cap = math.nan
    if not 0 <= cap < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, or 0 for no limit")
    return cap


def _parse_threshold(text: str) -> float:
    try:
        threshold = float(text)
    except ValueError:
        threshold = math.nan
    if not math.isfinite(threshold):
        raise argparse.ArgumentTypeError(f"{text!r} is not a rating such as 4")
    return threshold
