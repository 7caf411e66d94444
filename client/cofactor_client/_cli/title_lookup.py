"""From what a person types to an item: an id, or a title, with suggestions where neither is known."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence

from cofactor_client._client import Client
from cofactor_client._request_types import ItemFilter, UserLike
from cofactor_client._response_types import Item

_SUGGESTIONS = 5
_SEARCHED = 50
_YEAR = re.compile(r"\s*\((\d{4})\)$")


class UnknownTitleError(ValueError):
    """What was typed is neither an id nor one item's title; the message lists the nearest."""


def find_items(client: Client, names: Iterable[str]) -> dict[str, Item]:
    """The item that each name means: an item id, a title, or a title with its year, as in "Heat (1995)"."""
    wanted = list(dict.fromkeys(names))
    by_id = items_by_id(client, wanted)
    return {name: by_id.get(name) or _by_title(client, name) for name in wanted}


def items_by_id(client: Client, item_ids: Sequence[str], user: UserLike = "") -> dict[str, Item]:
    """Those of the ids that the model knows, with their titles and attributes.

    There is no lookup by id alone: a recommendation restricted to these candidates returns them, for whichever user.
    """
    if not item_ids:
        return {}
    page = client.recommend(
        user or "any user",
        len(item_ids),
        filter=ItemFilter(candidate_item_ids=tuple(item_ids)),
        include_rated=True,
        unknown_user="popular",
    )
    return {scored.item_id: scored.item for scored in page if scored.item is not None}


def _by_title(client: Client, name: str) -> Item:
    year = _YEAR.search(name)
    title = _YEAR.sub("", name) if year else name
    found = client.search_items(title, _SEARCHED).items if title.strip() else ()
    if year:
        found = tuple(item for item in found if item.release_year == int(year[1]) or name == item.title)
    spellings = _words(title), _words(name)
    exact = [item for item in found if _words(item.title) in spellings]
    chosen = exact or list(found)
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        raise UnknownTitleError(f"{name!r} fits several items; add the year or take an id: {_listed(chosen)}")
    nearest = _nearest(client, title)
    advice = f"; did you mean {_listed(nearest)}?" if nearest else "; `cofactor search WORD` finds titles"
    raise UnknownTitleError(f"no item has the id or title {name!r}{advice}")


def _nearest(client: Client, title: str) -> list[Item]:
    """Titles that share the beginning of a word with the misspelt one, nearest spelling first."""
    candidates: dict[str, Item] = {}
    for word in sorted(_folded(title).split(), key=len, reverse=True)[:3]:
        for beginning in dict.fromkeys((word, word[:4], word[:2])):
            for item in client.search_items(beginning, _SEARCHED):
                candidates[item.item_id] = item
    spelling = {item_id: _folded(item.title) for item_id, item in candidates.items()}
    ratio = {item_id: difflib.SequenceMatcher(None, _folded(title), s).ratio() for item_id, s in spelling.items()}
    best = sorted((item_id for item_id in ratio if ratio[item_id] > 0.6), key=lambda i: -ratio[i])
    return [candidates[item_id] for item_id in best[:_SUGGESTIONS]]


def _listed(items: Sequence[Item]) -> str:
    names = [f"{item.title!r} ({item.release_year or 'no year'}, id {item.item_id})" for item in items[:_SUGGESTIONS]]
    return ", ".join(names) + (", …" if len(items) > _SUGGESTIONS else "")


def _words(title: str) -> list[str]:
    """In any order: "The Matrix" is "Matrix, The"."""
    return sorted(_folded(title).split())


def _folded(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text.casefold())
    words = "".join(c if c.isalnum() else " " for c in letters if not unicodedata.combining(c))
    return " ".join(words.split())
