"""Find the items that a person names on the command line, by id or title, and suggest titles for misspelt ones."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence

from cofactor_client._catalog_types import Item
from cofactor_client._cli.output import print_note
from cofactor_client._client import Client
from cofactor_client._filter_types import ItemFilter

MAX_SUGGESTIONS = 5
MAX_SEARCH_RESULTS = 50
_YEAR = re.compile(r"\s*\((\d{4})\)$")


class UnknownNameError(ValueError):
    """A name on the command line does not say which item or genre is meant. The message suggests names."""


def find_items(client: Client, names: Iterable[str]) -> dict[str, Item]:
    """Find an item for each name: an item id, a title, or a title with its year, such as "Heat (1995)".

    A title may be shortened to its first words. If it fits several items, the most rated one is taken, and a note on
    standard error names the others.

    Raises UnknownNameError.
    """
    unique_names = list(dict.fromkeys(names))
    known_ids = items_by_id(client, unique_names)
    return {name: known_ids.get(name) or _find_by_title(client, name) for name in unique_names}


def items_by_id(client: Client, item_ids: Sequence[str]) -> dict[str, Item]:
    """Return the items with these ids; ids that the model does not know are left out.

    The API has no lookup by id. Recommending to an unknown user with the ids as the only candidates returns the items.
    """
    if not item_ids:
        return {}
    page = client.recommend(
        "any user",
        len(item_ids),
        filter=ItemFilter(candidate_item_ids=tuple(item_ids)),
        include_rated=True,
        unknown_user="popular",
    )
    return {scored.item_id: scored.item for scored in page}


def _find_by_title(client: Client, name: str) -> Item:
    year = _YEAR.search(name)
    title = _YEAR.sub("", name) if year else name
    found = client.search_items(title, MAX_SEARCH_RESULTS).items if title.strip() else ()
    if year:
        found = tuple(item for item in found if item.release_year == int(year[1]) or name == item.title)
    matches = _best_matches(found, title, name)
    if matches:
        return _most_rated(matches, name)
    if found:
        raise UnknownNameError(
            f"{name!r} is part of {_count(found)} titles; use one of them, or an item's id: {_list(found)}"
        )
    similar = _similar_titles(client, title)
    advice = f"; did you mean {_list(similar)}?" if similar else "; use `cofactor search WORD` to find titles"
    raise UnknownNameError(f"no item has the id or title {name!r}{advice}")


def _best_matches(found: Sequence[Item], title: str, name: str) -> Sequence[Item]:
    """Return the items with this title; without any, those whose title begins with it; otherwise the only item."""
    spellings = _sorted_words(title), _sorted_words(name)
    if exact := [item for item in found if _sorted_words(item.title) in spellings]:
        return exact
    beginning = f"{_normalise(title)} "
    if beginnings := [item for item in found if f"{_normalise(item.title)} ".startswith(beginning)]:
        return beginnings
    return found if len(found) == 1 else ()


def _most_rated(matches: Sequence[Item], name: str) -> Item:
    """Return the most rated item. If there are several, print a note that names the others."""
    by_ratings = sorted(matches, key=lambda item: -item.rating_count)
    if len(matches) > 1:
        print_note(
            f"{name!r} fits {_count(matches)} items; using the most rated one, {_list(by_ratings[:1])}. "
            f"For another, give more of its title, its year or its id: {_list(by_ratings[1:])}"
        )
    return by_ratings[0]


def _similar_titles(client: Client, title: str) -> list[Item]:
    """Return items whose title shares the beginning of a word with a misspelt title, most similar first."""
    candidates: dict[str, Item] = {}
    for word in sorted(_normalise(title).split(), key=len, reverse=True)[:3]:
        for beginning in dict.fromkeys((word, word[:4], word[:2])):
            for item in client.search_items(beginning, MAX_SEARCH_RESULTS):
                candidates[item.item_id] = item
    wanted = _normalise(title)
    similarity = {
        item_id: difflib.SequenceMatcher(None, wanted, _normalise(item.title)).ratio()
        for item_id, item in candidates.items()
    }
    best = sorted((i for i in similarity if similarity[i] > 0.6), key=lambda i: -similarity[i])
    return [candidates[item_id] for item_id in best[:MAX_SUGGESTIONS]]


def _list(items: Sequence[Item]) -> str:
    shown = items[:MAX_SUGGESTIONS]
    names = [f"{item.title!r} ({item.release_year or 'no year'}, id {item.item_id})" for item in shown]
    return ", ".join(names) + (", …" if len(items) > len(shown) else "")


def _count(items: Sequence[Item]) -> str:
    return f"{len(items)} or more" if len(items) >= MAX_SEARCH_RESULTS else str(len(items))


def _sorted_words(title: str) -> list[str]:
    """Return the words of a title in a fixed order, so that "The Matrix" equals "Matrix, The"."""
    return sorted(_normalise(title).split())


def _normalise(text: str) -> str:
    """Return text without case, accents and punctuation."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    words = "".join(c if c.isalnum() else " " for c in letters if not unicodedata.combining(c))
    return " ".join(words.split())
