"""Split events into a train part and a validation part.

Splits at random hold out all events of a pair of a user and an item, so that no pair is in both parts. Splits by time
hold out events; the pairs of the train part are then left out of the validation part, unless consumption repeats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from cofactor_trainer.data.dataset import BoolArray, RatingsDataset
from cofactor_trainer.data.events.weights import distinct_pairs, weigh_events, without_pairs_of
from cofactor_trainer.data.splits import Split, split_by_mask
from cofactor_trainer.errors import InputError

Choose = Callable[[RatingsDataset], BoolArray]


def split_events(events: RatingsDataset, choose: Choose, *, by_pair: bool, keeps_repeats: bool = False) -> Split:
    """Hold out events and weigh both parts.

    Args:
        events: events that are not weighed.
        choose: returns a mask of the held-out rows of a data set.
        by_pair: True to choose pairs of a user and an item, and hold out all their events.
        keeps_repeats: True to keep held-out pairs that are in the train part too.

    Raises:
        InputError: a part would be empty.
    """
    mask = _mask_of_pairs(events, choose) if by_pair else choose(events)
    split = split_by_mask(events, mask & (events.ratings > 0) if by_pair else mask)
    train, validation = split.train, weigh_events(split.validation)
    del split  # of 20 million events, a copy takes hundreds of megabytes
    train = weigh_events(train)
    if not (keeps_repeats or by_pair):  # pairs are in one part only
        validation = without_pairs_of(validation, train)
    if train.rated is not None and validation.rated is not None:
        validation = replace(validation, rated=without_pairs_of(validation.rated, train.rated))
        _check_ratings(events.name, train.rated, validation.rated)
    if not validation.n_ratings:
        raise InputError(
            f"the held-out events of {events.name} are all of items that their users had before: hold out more, or "
            "judge repeats with --repeats"
        )
    return Split(train, validation)


def _check_ratings(name: str, *parts: RatingsDataset | None) -> None:
    """Raise an `InputError` if a part of a table of ratings and events has no ratings."""
    if not all(part is not None and part.n_ratings for part in parts):
        raise InputError(
            f"all rows of {name} that have ratings are in one part of the split, so that there are none to train on or "
            "none to measure on: change --split or --validation-fraction"
        )


def event_folds(events: RatingsDataset, folds: Callable[[RatingsDataset], Iterator[BoolArray]]) -> Iterator[Split]:
    """Yield one split per mask of held-out pairs that ``folds`` yields."""
    pairs, pair_of_event = _pairs(events)
    for mask in folds(pairs):
        chosen = mask[pair_of_event] & (events.ratings > 0)
        yield split_events(events, lambda _, chosen=chosen: chosen, by_pair=False)  # type: ignore[misc]


def _mask_of_pairs(events: RatingsDataset, choose: Choose) -> BoolArray:
    pairs, pair_of_event = _pairs(events)
    mask: BoolArray = choose(pairs)[pair_of_event]
    return mask


def _pairs(events: RatingsDataset) -> tuple[RatingsDataset, np.ndarray]:
    """Return one event of every pair as a data set, and the number of the pair of every event."""
    firsts, pair_of_event = distinct_pairs(events)
    # Splits by pair are at random: the times of 20 million pairs would take 160 MB.
    return replace(events, timestamps=None, dismissed=None).select_ratings(firsts), pair_of_event
