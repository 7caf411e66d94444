"""Check the genres that a person names on the command line, and suggest genres for misspelt ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice

from cofactor_client._cli.title_lookup import UnknownNameError
from cofactor_client._client import Client
from cofactor_client._filter_types import ItemFilter

_ITEMS_SEEN = 500
_PAGE_SIZE = 50
_MAX_SUGGESTIONS = 20


def check_genres(client: Client, genres: Iterable[str]) -> None:
    """Raise UnknownNameError if no item has one of the genres. The message suggests genres.

    The API has no list of genres: recommending one item of a genre to an unknown user shows whether it exists.
    """
    for genre in dict.fromkeys(genres):
        filter = ItemFilter(any_genres=(genre,))
        if not client.recommend("any user", 1, filter=filter, include_rated=True, unknown_user="popular"):
            raise UnknownNameError(f"no item has the genre {genre!r}{_advice(client, genre)}")


def _advice(client: Client, genre: str) -> str:
    """Suggest the most similar genres of the most rated items, or list all of these genres."""
    items = islice(client.iter_top_items("most-rated", page_size=_PAGE_SIZE), _ITEMS_SEEN)
    known = {name.casefold(): name for item in items for name in item.genres}
    if similar := difflib.get_close_matches(genre.casefold(), known, 3):
        return f"; did you mean {', '.join(repr(known[name]) for name in similar)}?"
    if not known:
        return "; the items of this model have no genres"
    shown = sorted(known.values())[:_MAX_SUGGESTIONS]
    return f"; there are {', '.join(shown)}{', …' if len(known) > len(shown) else ''}"
